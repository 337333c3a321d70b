"""The feedback of a snapshot as the arrays that training and the gate take.

Shape letters: N = ratings, R = taste dimensions, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

import numpy as np

from paaplus.gate import FeedbackVerdict, feedback_verdict
from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import OwnPrior
from paaplus.services.adaptation.snapshot import Snapshot
from paaplus.services.feedback import arrays
from paaplus.services.feedback.feedback_log import LatestComparison, LatestLike, LatestRating


def rated_set(snapshot: Snapshot, ratings: list[LatestRating]) -> RatedSet:
    """Ratings as arrays; their images are in `snapshot.images`."""
    return arrays.rated_set(ratings, snapshot.base.aspects, partial(_inputs, snapshot))


def compared_set(snapshot: Snapshot, answers: Sequence[LatestComparison | LatestLike]) -> ComparedSet:
    """Comparisons and likes as arrays; their images are in `snapshot.images`."""
    return arrays.compared_set(answers, snapshot.base.aspects, partial(_inputs, snapshot))


def verdict_on(snapshot: Snapshot) -> FeedbackVerdict:
    """The gate's verdict on all feedback of the user, quarantined or not, whose images have features."""
    log, usable = snapshot.log.without_quarantine(), snapshot.images
    ratings = [rating for rating in log.latest_ratings() if rating.image_id in usable]
    compared = [answer for answer in log.latest_compared() if usable.keys() >= set(answer.image_ids)]
    prior = snapshot.starting_point.prior or OwnPrior(snapshot.base)
    return feedback_verdict(rated_set(snapshot, ratings), compared_set(snapshot, compared), prior, snapshot.policy.gate)


def _inputs(snapshot: Snapshot, image_ids: list[UUID]) -> tuple[np.ndarray, np.ndarray]:
    images = [snapshot.images[image_id] for image_id in image_ids]
    if not images:
        base = snapshot.base
        return np.empty((0, base.taste_dim), np.float32), np.empty((0, len(base.aspects)), np.float32)
    return np.stack([image.taste_R for image in images]), np.stack([image.generic_A for image in images])


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
