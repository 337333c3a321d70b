"""Train one increment of one user: the only entry from pipelines and evaluation into the strategies."""

from __future__ import annotations

import numpy as np

from paaplus.configs import ADAPTER_STRATEGIES
from paaplus.errors import DivergedError, InvalidInput
from paaplus.records import RatedSet
from paaplus.strategies import STRATEGIES, Trained, TrainingRequest
from paaplus.strategies.base import ShouldStop

__all__ = ["Trained", "TrainingRequest", "train"]


def train(request: TrainingRequest, *, should_stop: ShouldStop = lambda: False) -> Trained:
    """Learn one increment: the same request gives the same digest.

    Args:
        request: the increment, and what was learned before it.
        should_stop: asked before every step; a worker that lost its lease answers true.

    Returns:
        The candidate, its learner state and metrics; arrays are NumPy float32 whatever the device.

    Raises:
        InvalidInput: the parts of the request do not fit together, or hold numbers that are not finite.
        TrainingStopped: `should_stop` said so.
        DivergedError: the loss or a parameter became NaN or infinite.
    """
    _check(request)
    trained = STRATEGIES[request.strategy](request, should_stop)
    if not trained.adapter.is_finite():
        raise DivergedError(f"{request.strategy}: parameters that are not finite after the last step")
    return trained


def _check(request: TrainingRequest) -> None:
    if request.strategy not in ADAPTER_STRATEGIES.get(request.adapter_kind, ()):
        raise InvalidInput(f"strategy {request.strategy!r} cannot train adapter {request.adapter_kind!r}")
    for name, rated in (("new", request.new), ("past", request.past)):
        _check_rated(name, rated, request.base.taste_dim, len(request.base.aspects))
    if parent := request.parent:
        if parent.kind != request.adapter_kind:
            raise InvalidInput(f"parent adapter is a {parent.kind}, asked to train a {request.adapter_kind}")
        if parent.base_digest != request.base.digest:
            raise InvalidInput(
                f"parent adapter stands on base {parent.base_digest[:12]}, asked to train on {request.base.digest[:12]}"
            )


def _check_rated(name: str, rated: RatedSet, taste_dim: int, num_aspects: int) -> None:
    shapes = (rated.taste_NR.shape[1:], rated.generic_NA.shape[1:], rated.target_NA.shape[1:])
    if shapes != ((taste_dim,), (num_aspects,), (num_aspects,)):
        raise InvalidInput(f"{name} ratings have rows of {shapes}, the base model has {taste_dim} and {num_aspects}")
    if not (np.isfinite(rated.taste_NR).all() and np.isfinite(rated.generic_NA).all()):
        raise InvalidInput(f"{name} ratings with taste or generic scores that are not finite")
    if np.isinf(rated.target_NA).any():
        raise InvalidInput(f"{name} ratings with infinite targets")
    if not (np.isfinite(rated.weight_N).all() and (rated.weight_N >= 0).all()):
        raise InvalidInput(f"{name} ratings with weights that are negative or not finite")
