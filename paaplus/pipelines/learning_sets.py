"""The feedback of a snapshot as the arrays that training and the gate take.

Shape letters: N = ratings, R = taste dimensions, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import structlog

from paaplus.gate import EvidenceMemory, FeedbackVerdict, JudgedFeedback, feedback_verdicts
from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import OwnPrior
from paaplus.services.adaptation.snapshot import Snapshot
from paaplus.services.feedback import arrays
from paaplus.services.feedback.feedback_log import LatestComparison, LatestLike

log = structlog.get_logger(__name__)


def compared_set(snapshot: Snapshot, answers: Sequence[LatestComparison | LatestLike]) -> ComparedSet:
    """Comparisons and likes as arrays; their images are in `snapshot.images`."""
    return arrays.compared_set(answers, snapshot.base.aspects, snapshot.inputs)


def verdicts_on(snapshots: Sequence[Snapshot], memory: EvidenceMemory) -> list[FeedbackVerdict | Exception]:
    """The gate's verdicts on all feedback of each user, quarantined or not, whose images have features.

    All are reached together. If that raises, each alone, so that only the faulty one has an error in its place.
    """
    try:
        return [*feedback_verdicts([_judged(snapshot, memory) for snapshot in snapshots])]
    except Exception as error:
        if len(snapshots) == 1:
            return [error]
        log.warning("judging together failed: each is judged alone", num_users=len(snapshots), error=repr(error))
        return [verdicts_on([snapshot], memory)[0] for snapshot in snapshots]


def _judged(snapshot: Snapshot, memory: EvidenceMemory) -> JudgedFeedback:
    feedback = snapshot.log.without_quarantine()
    judged = snapshot if feedback is snapshot.log else replace(snapshot, log=feedback)
    answers = [answer for answer in feedback.latest_compared() if snapshot.images.keys() >= set(answer.image_ids)]
    prior = snapshot.starting_point.prior or OwnPrior(snapshot.base)
    gate, compared = snapshot.policy.gate, compared_set(snapshot, answers)
    user = JudgedFeedback(judged.rated, compared, prior, gate, memory=memory)
    return replace(user, first_N=judged.first_N, taste_sum_N2=judged.taste_sum_N2) if user.is_long else user


def prequential(base: BaseScorer, reference: Adapter | None, new: RatedSet) -> dict[str, Any]:
    """Mean absolute error, by aspect, of the served scores on the new ratings before training on them."""
    if not len(new):
        return {}
    error_NA = np.abs(_score(reference, new.taste_NR, new.generic_NA) - new.target_NA)
    rated_A = ~np.isnan(error_NA).all(axis=0)
    return {
        "prequential_mae": {
            aspect: float(np.nanmean(error_NA[:, a])) for a, aspect in enumerate(base.aspects) if rated_A[a]
        }
    }


def _score(adapter: Adapter | None, taste_NR: np.ndarray, generic_NA: np.ndarray) -> np.ndarray:
    return generic_NA if adapter is None else adapter.score(taste_NR, generic_NA)
