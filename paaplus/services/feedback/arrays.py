"""Latest ratings, comparisons and likes as the arrays that learning takes.

Shape letters: N = ratings, C = comparisons, I = images, R = taste dimensions, A = aspects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from uuid import UUID

import numpy as np

from paaplus.records import ComparedSet, RatedSet
from paaplus.services.feedback.feedback_log import LatestComparison, LatestLike, LatestRating

Inputs = Callable[[list[UUID]], tuple[np.ndarray, np.ndarray]]
"""Gives taste vectors (I, R) and generic scores (I, A) of images, in the order asked."""


def rated_set(ratings: Sequence[LatestRating], aspects: Sequence[str], inputs: Inputs) -> RatedSet:
    """Ratings as arrays. An aspect that was not rated is NaN."""
    target_NA = np.array([[rating.scores.get(aspect, np.nan) for aspect in aspects] for rating in ratings])
    return RatedSet.of(
        np.array([rating.sequence for rating in ratings], np.int64),
        *inputs([rating.image_id for rating in ratings]),
        target_NA.reshape(len(ratings), len(aspects)),
        answered_at_N=np.array([rating.answered_at for rating in ratings], np.int64),
    )


def compared_set(
    answers: Sequence[LatestComparison | LatestLike], aspects: Sequence[str], inputs: Inputs
) -> ComparedSet:
    """Comparisons and likes as arrays, in order of sequence. An aspect without a preference is NaN.

    A like is about all aspects together: each aspect has a share of its weight. Its image also stands for the made-up
    second one, until `scoring.middles` places that.
    """
    if not answers:
        return _no_answers(*(input_IX.shape[1] for input_IX in inputs([])))
    answers = sorted(answers, key=lambda each: each.sequence)
    preference_CA = np.array([_preferences(each, aspects) for each in answers])
    weight_C = np.array([1.0 / len(aspects) if isinstance(each, LatestLike) else 1.0 for each in answers])
    return ComparedSet.of(
        np.array([each.sequence for each in answers], np.int64),
        *inputs([each.image_ids[0] for each in answers]),
        *inputs([each.image_ids[-1] for each in answers]),
        preference_CA.reshape(len(answers), len(aspects)),
        weight_C,
        answered_at_C=np.array([each.answered_at for each in answers], np.int64),
    )


@lru_cache(8)
def _no_answers(taste_dim: int, num_aspects: int) -> ComparedSet:
    taste_CR, generic_CA = np.empty((0, taste_dim), np.float32), np.empty((0, num_aspects), np.float32)
    return ComparedSet.of(np.empty(0, np.int64), taste_CR, generic_CA, taste_CR, generic_CA, generic_CA)


def _preferences(answer: LatestComparison | LatestLike, aspects: Sequence[str]) -> list[float]:
    if isinstance(answer, LatestLike):
        return [answer.answer] * len(aspects)
    return [answer.preferences.get(aspect, np.nan) for aspect in aspects]
