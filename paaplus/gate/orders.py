"""Orders of ratings against orders of scores, pair by pair. Shape letters: N = rated images, A = aspects."""

from __future__ import annotations

import numpy as np


def order(score_NA: np.ndarray) -> np.ndarray:
    """Which of each two rows is higher: 1, -1, 0 for a tie, NaN where there is no score; shape (N, N, A)."""
    return np.sign(score_NA[:, None] - score_NA[None])


def pair_gains(target_NA: np.ndarray, active_NA: np.ndarray, candidate_NA: np.ndarray) -> np.ndarray:
    """Per row that is in a pair: the share of its pairs that the candidate orders right, minus the active's share.

    A pair is two rows that the user told apart in one aspect; equal scores count as half right.
    """
    target_NNA = np.nan_to_num(order(target_NA))
    gain_NNA = (order(candidate_NA) - order(active_NA)) * target_NNA / 2.0
    return _row_means(gain_NNA, target_NNA != 0)


def agreements(target_NA: np.ndarray, order_NNA: np.ndarray) -> np.ndarray:
    """Per row that is in a pair: its pairs in the same order as in `order_NNA` minus those in the other, as a share.

    Kendall's tau-a, row by row. A pair is two rows that the user rated in one aspect; alike on either side is 0, so
    that somebody who tells nothing apart agrees with nothing.
    """
    target_NNA = order(target_NA)
    agreement_NNA = target_NNA * order_NNA
    paired_NNA = ~np.isnan(agreement_NNA)
    paired_NNA[np.diag_indices(len(target_NA))] = False
    return _row_means(agreement_NNA, paired_NNA)


def _row_means(value_NNA: np.ndarray, counted_NNA: np.ndarray) -> np.ndarray:
    count_N = counted_NNA.sum(axis=(1, 2))
    total_N = np.where(counted_NNA, value_NNA, 0.0).sum(axis=(1, 2))
    return (total_N[count_N > 0] / count_N[count_N > 0]).astype(np.float64)
