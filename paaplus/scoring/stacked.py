"""Scores of one image by many taste vectors at once, with the very bits of `Adapter.score` for each of them.

Shape letters: S = taste vectors, R = taste space dim, A = aspects.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from paaplus.records import SCORE_MAX, SCORE_MIN

BLOCK: Final = 512  # taste vectors at once: their numbers in float64 stay in the processor's cache


def score_stack(
    weight_SAR: np.ndarray, alpha_SA: np.ndarray, beta_SA: np.ndarray, taste_R: np.ndarray, generic_A: np.ndarray
) -> np.ndarray:
    """Personal scores of the image, 0-10, shape (S, A), float32.

    `matmul` makes one product for each taste vector by the same routine as `rowwise_matmul`, so a score does not
    depend on the others of the stack; a test compares the bits.

    Args:
        weight_SAR: the taste vectors' weights, float32, with the taste space last.
        alpha_SA, beta_SA: their scales and offsets, float32.
        taste_R: the image in taste space.
        generic_A: its generic scores, float32.
    """
    delta_SA = np.empty(alpha_SA.shape)
    wide_BAR = np.empty((min(BLOCK, len(weight_SAR)), *weight_SAR.shape[1:]))
    column_R = np.ascontiguousarray(taste_R, dtype=np.float64)
    for start in range(0, len(weight_SAR), BLOCK):
        block_BAR = weight_SAR[start : start + BLOCK]
        wide_BAR[: len(block_BAR)] = block_BAR
        np.matmul(wide_BAR[: len(block_BAR)], column_R, out=delta_SA[start : start + BLOCK])
    corrected_SA = alpha_SA.astype(np.float64) * generic_A.astype(np.float64) + beta_SA + delta_SA
    return np.clip(corrected_SA, SCORE_MIN, SCORE_MAX).astype(np.float32)
