"""The learned order on ratings that it was learned from, for strategies without closed-form predictions.

Shape letters: N = new training ratings, L = the latest of them, A = aspects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from paaplus.configs import GateConfig
from paaplus.gate.evidence import Evidence
from paaplus.gate.judgement import follows_what_was_known
from paaplus.training import Trained, TrainingRequest, train


def completed(
    evidence: Evidence, request: TrainingRequest, config: GateConfig, should_stop: Callable[[], bool] = lambda: False
) -> Evidence:
    """The evidence, with the new ratings' learned order where that may decide."""
    trained = [train(half, should_stop=should_stop) for half in halves(evidence, request, config)]
    return with_order(evidence, request, trained) if trained else evidence


def halves(evidence: Evidence, request: TrainingRequest, config: GateConfig) -> list[TrainingRequest]:
    """Two more trainings, each on every other new rating, which order the ones that they did not see; or none.

    They are spent only on ratings that follow neither the served nor the generic order: those of a person unlike all
    others, or of nobody.
    """
    fresh = evidence.fresh
    if fresh.difference_LLA is not None or _is_new(evidence, request).sum() < 2:
        return []
    if follows_what_was_known(evidence, config):
        return []
    return [replace(request, new=request.new.select(~left_out_N)) for left_out_N in _folds(evidence, request)]


def with_order(evidence: Evidence, request: TrainingRequest, trained: Sequence[Trained]) -> Evidence:
    """The evidence with the order that `halves` have learned."""
    fresh = evidence.fresh
    difference_LLA = np.full((len(fresh), *fresh.target_NA.shape), np.nan)
    for each, left_out_N in zip(trained, _folds(evidence, request), strict=True):
        left_out = request.new.select(left_out_N)
        score_NA = each.adapter.score(left_out.taste_NR, left_out.generic_NA)
        at_N = np.searchsorted(fresh.sequence_N, left_out.sequence_N)
        difference_LLA[at_N[:, None], at_N] = score_NA[:, None] - score_NA[None]
    return replace(evidence, fresh=replace(fresh, difference_LLA=difference_LLA))


def _is_new(evidence: Evidence, request: TrainingRequest) -> np.ndarray:
    return np.isin(request.new.sequence_N, evidence.fresh.sequence_N)


def _folds(evidence: Evidence, request: TrainingRequest) -> list[np.ndarray]:
    """Which new ratings each of the two leaves out."""
    is_new_N = _is_new(evidence, request)
    return [is_new_N & (np.cumsum(is_new_N) % 2 == fold) for fold in (0, 1)]
