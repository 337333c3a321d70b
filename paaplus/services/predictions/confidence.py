"""Confidence of scores: standard deviations, from the prior and the user's ratings.

Shape letters: N = images of one user, A = aspects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paaplus.scoring.adapters import Adapter, TasteVector
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import OwnPrior, Prior, design


@dataclass(frozen=True, slots=True)
class Confidence:
    """Standard deviations by aspect, in score points: of the user's score, and of a rating by the user.

    A rating varies more than the score, because one person's ratings of one image are noisy.
    """

    score_sd: dict[str, float]
    rating_sd: dict[str, float]


def confidences(
    base: BaseScorer, adapter: Adapter | None, prior: Prior | None, taste_NR: np.ndarray, generic_NA: np.ndarray
) -> list[Confidence] | None:
    """The confidence of each image's score; None: the adapter has no uncertainty.

    Args:
        base: the base model.
        adapter: the user's; None: the user has none, and the prior alone gives the confidence.
        prior: the prior that the adapter started from; None: the base model's own.
        taste_NR: the images in taste space.
        generic_NA: their generic scores.
    """
    uncertainty = adapter.uncertainty if isinstance(adapter, TasteVector) else None
    if adapter is not None and uncertainty is None:
        return None
    chosen: Prior = prior or OwnPrior(base)
    score_sd_NA, rating_sd_NA = np.empty(generic_NA.shape), np.empty(generic_NA.shape)
    for a in range(generic_NA.shape[1]):
        coordinate_NK = chosen.coordinates(design(taste_NR, generic_NA[:, a]), a)
        if uncertainty is not None:
            variance_N, noise_sd = uncertainty.score_variance(coordinate_NK, a), uncertainty.rating_noise_sd_A[a]
        else:
            variance_N = np.array([row_K @ row_K for row_K in coordinate_NK])
            noise_sd = chosen.noise_sd_A[a]
        score_sd_NA[:, a] = np.sqrt(variance_N)
        rating_sd_NA[:, a] = np.sqrt(variance_N + float(noise_sd) ** 2)
    return [
        Confidence(_by_aspect(base, score_sd_A), _by_aspect(base, rating_sd_A))
        for score_sd_A, rating_sd_A in zip(score_sd_NA, rating_sd_NA, strict=True)
    ]


def _by_aspect(base: BaseScorer, value_A: np.ndarray) -> dict[str, float]:
    return dict(zip(base.aspects, value_A.tolist(), strict=True))
