"""The learned order on ratings that it was learned from, for strategies without closed-form predictions.

Shape letters: N = new training ratings, L = the latest of them, A = aspects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from paaplus.configs import GateConfig
from paaplus.gate.evidence import Evidence
from paaplus.gate.judgement import follows_what_was_known
from paaplus.training import TrainingRequest, train


def completed(
    evidence: Evidence, request: TrainingRequest, config: GateConfig, should_stop: Callable[[], bool] = lambda: False
) -> Evidence:
    """The evidence, with the new ratings' learned order where that may decide.

    Two more trainings, each on every other new rating, order the ones that they did not see. They are spent only on
    ratings that follow neither the served nor the generic order: those of a person unlike all others, or of nobody.
    """
    fresh = evidence.fresh
    is_new_N = np.isin(request.new.sequence_N, fresh.sequence_N)
    if fresh.difference_LLA is not None or is_new_N.sum() < 2 or follows_what_was_known(evidence, config):
        return evidence
    difference_LLA = np.full((len(fresh), *fresh.target_NA.shape), np.nan)
    for fold in (0, 1):
        left_out_N = is_new_N & (np.cumsum(is_new_N) % 2 == fold)
        trained = train(replace(request, new=request.new.select(~left_out_N)), should_stop=should_stop)
        left_out = request.new.select(left_out_N)
        score_NA = trained.adapter.score(left_out.taste_NR, left_out.generic_NA)
        at_N = np.searchsorted(fresh.sequence_N, left_out.sequence_N)
        difference_LLA[at_N[:, None], at_N] = score_NA[:, None] - score_NA[None]
    return replace(evidence, fresh=replace(fresh, difference_LLA=difference_LLA))
