"""What a strategy is given and what it returns.

A strategy is a function `fit(request, should_stop=...) -> Trained` and a line in `STRATEGIES`.
Shape letters: N = ratings, A = aspects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from paaplus.configs import TrainingConfig
from paaplus.records import NO_COMPARISONS, ComparedSet, RatedSet
from paaplus.scoring.adapters import Adapter, TasteVector
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import Prior

STATE_FORMAT = "learner-1"  # of every learner state

ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class TrainingRequest:
    """One increment of one user."""

    strategy: str
    adapter_kind: str
    config: TrainingConfig
    base: BaseScorer
    new: RatedSet  # this increment's training ratings
    past: RatedSet  # every earlier, still valid training rating
    parent: Adapter | None  # None: start at zero change
    state: bytes | None  # the parent's learner state
    device: str = "cpu"
    new_compared: ComparedSet = NO_COMPARISONS  # this increment's training comparisons
    past_compared: ComparedSet = NO_COMPARISONS  # every earlier, still valid one
    prior: Prior | None = None  # what the closed form starts from; None: the base model's own
    center: TasteVector | None = None  # where gradient strategies start, and count the penalty from; None: no change


@dataclass(frozen=True)
class Trained:
    """A candidate adapter, what the next increment needs to go on from it, and numbers worth keeping.

    `loo_NA` holds what the same fit without that one rating would have scored, for `past` and `new` together in
    order of sequence; NaN where an aspect was not rated. `loo_difference_LLA` holds what a fit without either of two
    ratings would have scored one image above the other, for each two of the last L of them. Both are None from
    strategies that have no such closed form.
    """

    adapter: Adapter
    state: bytes
    metrics: dict[str, float]
    loo_NA: np.ndarray | None = None
    loo_difference_LLA: np.ndarray | None = None


class Fit(Protocol):
    """The signature of every entry of `STRATEGIES`."""

    def __call__(self, request: TrainingRequest, should_stop: ShouldStop) -> Trained: ...
