"""What a strategy is given and what it returns.

A strategy is a module with `FACTS` (see `strategy_facts`) and one of two functions. `plugins(config)` gives Avalanche
plugins, with which users are trained in steps, in stacks; `see(request)`, if it is there, says how the strategy looks
at a request. `fit(request, should_stop)` does without steps.

A plugin may have methods beside Avalanche's hooks: `admit(member)` before a user is stacked, `arrays(stack, u)` for
what the learner state keeps, and `held(stack, u)` for how firmly it holds the parameters.
Shape letters: N = ratings, A = aspects.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from paaplus.configs import TrainingConfig
from paaplus.records import NO_COMPARISONS, ComparedSet, RatedSet
from paaplus.scoring.adapters import Adapter, TasteVector
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import Prior
from paaplus.scoring.rating_sums import SumsMemory

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
    memory: SumsMemory | None = None  # what the process knows of this user's ratings; it changes no bit of the result
    joined: RatedSet | None = None  # past and new as one, where it is at hand

    def __post_init__(self) -> None:
        assert self.joined is None or len(self.joined) == len(self.past) + len(self.new), "joined is of other ratings"

    def sequences(self) -> np.ndarray:
        """The numbers of all its events, in no order."""
        compared = self.new_compared.sequence_C, self.past_compared.sequence_C
        return np.concatenate([self.new.sequence_N, self.past.sequence_N, *compared])

    def everything(self) -> tuple[RatedSet, ComparedSet]:
        """All ratings and comparisons, past and new, in order of sequence."""
        compared = ComparedSet.concatenate(self.past_compared, self.new_compared)
        joined = self.joined if self.joined is not None else RatedSet.concatenate(self.past, self.new)
        return joined, compared


@dataclass(frozen=True)
class Trained:
    """A candidate adapter, what the next increment needs to go on from it, and numbers worth keeping."""

    adapter: Adapter
    state: bytes
    metrics: dict[str, float]
    # What the same fit without that one rating would have scored, `past` and `new` together in order of sequence; NaN
    # where an aspect was not rated, and where there are very many past ratings: of some. None: no such closed form.
    loo_NA: np.ndarray | None = None
