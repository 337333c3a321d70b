"""Latest ratings and comparisons as the arrays that learning takes.

Shape letters: N = ratings, C = comparisons, I = images, R = taste dimensions, A = aspects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

import numpy as np

from paaplus.records import ComparedSet, RatedSet
from paaplus.services.feedback.feedback_log import LatestComparison, LatestRating

Inputs = Callable[[list[UUID]], tuple[np.ndarray, np.ndarray]]
"""Gives taste vectors (I, R) and generic scores (I, A) of images, in the order asked."""


def rated_set(ratings: Sequence[LatestRating], aspects: Sequence[str], inputs: Inputs) -> RatedSet:
    """Ratings as arrays. An aspect that was not rated is NaN."""
    target_NA = np.array([[rating.scores.get(aspect, np.nan) for aspect in aspects] for rating in ratings])
    return RatedSet.of(
        np.array([rating.sequence for rating in ratings], np.int64),
        *inputs([rating.image_id for rating in ratings]),
        target_NA.reshape(len(ratings), len(aspects)),
    )


def compared_set(comparisons: Sequence[LatestComparison], aspects: Sequence[str], inputs: Inputs) -> ComparedSet:
    """Comparisons as arrays. An aspect without a preference is NaN."""
    preference_CA = np.array([[each.preferences.get(aspect, np.nan) for aspect in aspects] for each in comparisons])
    return ComparedSet.of(
        np.array([each.sequence for each in comparisons], np.int64),
        *inputs([each.first_id for each in comparisons]),
        *inputs([each.second_id for each in comparisons]),
        preference_CA.reshape(len(comparisons), len(aspects)),
    )
