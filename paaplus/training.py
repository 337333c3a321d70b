"""Train one increment of one user, or of many: the only entry from pipelines and evaluation into the strategies."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from paaplus import strategy_facts
from paaplus.configs import ADAPTER_STRATEGIES, PRIOR_STRATEGIES
from paaplus.errors import DivergedError, InvalidInput, PaaplusError, TrainingStopped
from paaplus.scoring import middles
from paaplus.scoring.priors import OwnPrior
from paaplus.strategies.base import ShouldStop, Trained, TrainingRequest
from paaplus.strategies.recency import aged
from paaplus.strategies.steps import Outcome, train_in_steps

__all__ = ["Trained", "TrainingRequest", "middles_of", "train", "train_many"]


def train(request: TrainingRequest, *, should_stop: ShouldStop = lambda: False) -> Trained:
    """Learn one increment: the same request gives the same digest, alone or among others.

    Raises:
        InvalidInput: the parts of the request do not fit together, or hold numbers that are not finite.
        TrainingStopped: `should_stop` returned true.
        DivergedError: the loss or a parameter became NaN or infinite.
    """
    [outcome] = train_many([request], should_stop=should_stop)
    if isinstance(outcome, PaaplusError):
        raise outcome
    return outcome


def train_many(requests: Sequence[TrainingRequest], *, should_stop: ShouldStop = lambda: False) -> list[Outcome]:
    """Learn one increment of each of many users, in stacks; arrays are NumPy float32 whatever the device.

    On a CPU the bytes are each request's own: the same alone, among any others and in any order. `should_stop` is asked
    before every step of all: a worker that lost its leases answers true.

    Returns:
        In order of the requests, the candidate or the error that `train` raises for that user.

    Raises:
        TrainingStopped: `should_stop` returned true; nothing was produced for anybody.
    """
    outcomes: dict[int, Outcome] = {}
    by_strategy: dict[str, dict[int, TrainingRequest]] = {}
    for i, request in enumerate(requests):
        try:
            _check(request)
        except PaaplusError as error:
            outcomes[i] = error
        else:
            by_strategy.setdefault(request.strategy, {})[i] = _with_middles(aged(request))
    for name, chosen in by_strategy.items():
        strategy = importlib.import_module(strategy_facts.modules()[name])
        if hasattr(strategy, "plugins"):
            outcomes |= train_in_steps(strategy, chosen, should_stop)
            continue
        for i, request in chosen.items():
            try:
                outcomes[i] = strategy.fit(request, should_stop)
            except TrainingStopped:
                raise
            except PaaplusError as error:
                outcomes[i] = error
    return [_checked(outcomes[i], request.strategy) for i, request in enumerate(requests)]


def middles_of(request: TrainingRequest) -> np.ndarray | None:
    """The user's middles as a training estimates them, shape (A,), 0-10; None: the user likes nothing."""
    if not any(map(middles.has_likes, (request.new_compared, request.past_compared))):
        return None
    return middles.estimate(request.prior or OwnPrior(request.base), *request.everything())


def _with_middles(request: TrainingRequest) -> TrainingRequest:
    """The request with the made-up images of its likes where all its feedback says the middle is."""
    middle_A = middles_of(request)
    new, past = (middles.placed(each, middle_A) for each in (request.new_compared, request.past_compared))
    return replace(request, new_compared=new, past_compared=past)


def _checked(outcome: Outcome, strategy: str) -> Outcome:
    if isinstance(outcome, Trained) and not outcome.adapter.is_finite():
        return DivergedError(f"{strategy}: parameters that are not finite after the last step")
    return outcome


def _check(request: TrainingRequest) -> None:
    if request.strategy not in ADAPTER_STRATEGIES.get(request.adapter_kind, ()):
        raise InvalidInput(f"strategy {request.strategy!r} cannot train adapter {request.adapter_kind!r}")
    taste_dim, num_aspects = request.base.taste_dim, len(request.base.aspects)
    request.new.check("new ratings", taste_dim, num_aspects)
    request.past.check("past ratings", taste_dim, num_aspects)
    request.new_compared.check("new comparisons", taste_dim, num_aspects)
    request.past_compared.check("past comparisons", taste_dim, num_aspects)
    sequence_N = np.sort(request.sequences())
    repeated = sequence_N[1:][sequence_N[1:] == sequence_N[:-1]]
    if len(repeated):
        raise InvalidInput(f"event {repeated[0]} is given twice")
    _check_start(request)


def _check_start(request: TrainingRequest) -> None:
    digest = request.base.digest
    if request.prior is not None and not request.prior.fits(request.base):
        raise InvalidInput(f"taste prior of base models other than {digest[:12]}, asked to train on it")
    if center := request.center:
        if request.strategy in PRIOR_STRATEGIES:
            raise InvalidInput(f"a centre for `{request.strategy}`, which starts from a taste prior")
        if center.base_digest != digest or not center.is_finite():
            raise InvalidInput(f"centre of base {center.base_digest[:12]}, or numbers in it that are not finite")
    parent = request.parent
    if parent and parent.kind != request.adapter_kind:
        raise InvalidInput(f"parent adapter is a {parent.kind}, asked to train a {request.adapter_kind}")
    if parent and parent.base_digest != digest:
        raise InvalidInput(f"parent adapter stands on base {parent.base_digest[:12]}, asked to train on {digest[:12]}")
