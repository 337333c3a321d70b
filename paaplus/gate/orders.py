"""How well scores order pairs of images as ratings do.

Shape letters: N = rated images, A = aspects."""

from __future__ import annotations

import numpy as np


def order(score_NA: np.ndarray) -> np.ndarray:
    """Which of each two rows is higher, shape (N, N, A): 1 the first, -1 the second, 0 a tie, NaN without a score."""
    return np.sign(score_NA[:, None] - score_NA[None])


def pair_gains(target_NA: np.ndarray, active_NA: np.ndarray, candidate_NA: np.ndarray) -> np.ndarray:
    """Share of a row's pairs that the candidate orders right, minus the active version's share; per row in any pair.

    A pair is two rows with different ratings in one aspect. Equal scores count as half right.
    """
    target_NNA = np.nan_to_num(order(target_NA))
    gain_NNA = (order(candidate_NA) - order(active_NA)) * target_NNA / 2.0
    return _row_means(gain_NNA, target_NNA != 0)


def _row_means(value_NNA: np.ndarray, counted_NNA: np.ndarray) -> np.ndarray:
    count_N = counted_NNA.sum(axis=(1, 2))
    total_N = np.where(counted_NNA, value_NNA, 0.0).sum(axis=(1, 2))
    return (total_N[count_N > 0] / count_N[count_N > 0]).astype(np.float64)
