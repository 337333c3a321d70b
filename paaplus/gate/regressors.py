"""Regressors of the feedback on one aspect, as the gate's evidence takes them.

Shape letters: N = ratings, C = comparisons, P = regressors, A = aspects, R = taste space dimensions.
"""

from __future__ import annotations

import numpy as np

from paaplus.records import ComparedSet
from paaplus.scoring.priors import SCORE_CENTER, Prior, design


def of_ratings(
    taste_NR: np.ndarray, generic_N: np.ndarray, target_N: np.ndarray, mean_P: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Regressors (N, P), and the columns 1, score and rating (N, 3), less the middle of the scale.

    Args:
        taste_NR, generic_N, target_N: of each rating; scores 0-10.
        mean_P: mean weights, which shift the generic scores.
    """
    generic_N = generic_N.astype(np.float64)
    design_NP = design(taste_NR, generic_N)
    target_N = target_N.astype(np.float64) - SCORE_CENTER
    mean_N = generic_N + design_NP @ mean_P - SCORE_CENTER
    return design_NP, np.column_stack([np.ones(len(target_N)), mean_N, target_N])


def of_pairs(compared: ComparedSet, prior: Prior, aspect: int) -> tuple[np.ndarray, np.ndarray]:
    """Difference of the two images' regressors (C, P), and of their scores under the mean weights (C,)."""
    first_C = compared.first_generic_CA[:, aspect].astype(np.float64)
    second_C = compared.second_generic_CA[:, aspect].astype(np.float64)
    difference_CP = design(compared.first_taste_CR, first_C) - design(compared.second_taste_CR, second_C)
    return difference_CP, first_C - second_C + difference_CP @ prior.mean(aspect)
