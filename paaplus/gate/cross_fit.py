"""Cross-fitting: the learned order of new training ratings, for strategies without leave-one-out predictions.

Two more trainings each leave out every other new rating. Their scores of the ratings that they left out give the order.

Shape letters: N = new training ratings, L = the latest of them, A = aspects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from paaplus.configs import GateConfig
from paaplus.gate.evidence import Evidence
from paaplus.gate.judgement import follows_known_order
from paaplus.training import Trained, TrainingRequest, train


def cross_fitted(
    evidence: Evidence, request: TrainingRequest, config: GateConfig, should_stop: Callable[[], bool] = lambda: False
) -> Evidence:
    """The evidence, with the learned order of the new ratings if the decision can depend on it."""
    trained = [train(part, should_stop=should_stop) for part in cross_fit_requests(evidence, request, config)]
    return with_learned_order(evidence, request, trained) if trained else evidence


def cross_fit_requests(evidence: Evidence, request: TrainingRequest, config: GateConfig) -> list[TrainingRequest]:
    """The two trainings of a cross-fit, or none if they could not change the decision.

    They are needed only when the new ratings follow neither the served nor the generic order. Then the user's taste is
    unlike everybody's, or the ratings are noise.
    """
    new = evidence.new
    if new.difference_LLA is not None or _is_new(evidence, request).sum() < 2:
        return []
    if follows_known_order(evidence, config):
        return []
    return [replace(request, new=request.new.select(~left_out_N)) for left_out_N in _folds(evidence, request)]


def with_learned_order(evidence: Evidence, request: TrainingRequest, trained: Sequence[Trained]) -> Evidence:
    """The evidence with score differences of the new ratings.

    Args:
        evidence: without them.
        request: the training that the evidence is about.
        trained: the results of `cross_fit_requests`, in their order.
    """
    new = evidence.new
    difference_LLA = np.full((len(new), *new.target_NA.shape), np.nan)
    for each, left_out_N in zip(trained, _folds(evidence, request), strict=True):
        left_out = request.new.select(left_out_N)
        score_NA = each.adapter.score(left_out.taste_NR, left_out.generic_NA)
        at_N = np.searchsorted(new.sequence_N, left_out.sequence_N)
        difference_LLA[at_N[:, None], at_N] = score_NA[:, None] - score_NA[None]
    return replace(evidence, new=replace(new, difference_LLA=difference_LLA))


def _is_new(evidence: Evidence, request: TrainingRequest) -> np.ndarray:
    return np.isin(request.new.sequence_N, evidence.new.sequence_N)


def _folds(evidence: Evidence, request: TrainingRequest) -> list[np.ndarray]:
    """Masks over the training's new ratings: those that each of the two trainings leaves out."""
    is_new_N = _is_new(evidence, request)
    return [is_new_N & (np.cumsum(is_new_N) % 2 == fold) for fold in (0, 1)]
