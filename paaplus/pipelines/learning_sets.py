"""What a snapshot holds, as the arrays that learning and judging take.

Shape letters: N = ratings, C = comparisons, R = taste space dim, A = aspects.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np

from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.services.adaptation.snapshot import Snapshot
from paaplus.services.feedback.feedback_log import LatestComparison, LatestRating


def rated_set(snapshot: Snapshot, words: list[LatestRating]) -> RatedSet:
    """Words as arrays: features projected to taste space, scores by aspect with NaN for what was not rated."""
    base = snapshot.base
    taste_NR = _taste(snapshot, [word.image_id for word in words])
    target_NA = np.array([[word.scores.get(aspect, np.nan) for aspect in base.aspects] for word in words])
    return RatedSet.of(
        np.array([word.sequence for word in words], np.int64),
        taste_NR,
        base.generic(taste_NR),
        target_NA.reshape(len(words), len(base.aspects)),
    )


def compared_set(snapshot: Snapshot, words: list[LatestComparison]) -> ComparedSet:
    """The same for words on pairs."""
    base = snapshot.base
    first_CR = _taste(snapshot, [word.first_id for word in words])
    second_CR = _taste(snapshot, [word.second_id for word in words])
    preference_CA = np.array([[word.preferences.get(aspect, np.nan) for aspect in base.aspects] for word in words])
    return ComparedSet.of(
        np.array([word.sequence for word in words], np.int64),
        first_CR,
        base.generic(first_CR),
        second_CR,
        base.generic(second_CR),
        preference_CA.reshape(len(words), len(base.aspects)),
    )


def _taste(snapshot: Snapshot, image_ids: list[UUID]) -> np.ndarray:
    if not image_ids:
        return snapshot.project(no_features(snapshot.base))
    return snapshot.project(np.stack([snapshot.features[image_id] for image_id in image_ids]))


def no_features(base: BaseScorer) -> np.ndarray:
    return np.empty((0, base.feature_dim), np.float16)


def prequential(base: BaseScorer, reference: Adapter | None, new: RatedSet) -> dict[str, Any]:
    """How well what was served predicted the new ratings before learning from them: mean absolute error by aspect."""
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
