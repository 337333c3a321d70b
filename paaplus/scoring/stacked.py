"""Scores by many taste vectors at once, with the very bits of `Adapter.score` for each of them.

Shape letters: S = taste vectors, U = users, I = images, N = items, R = taste space dim, A = aspects, B = of a block.
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


def score_grid(
    weight_UAR: np.ndarray, alpha_UA: np.ndarray, beta_UA: np.ndarray, taste_IR: np.ndarray, generic_IA: np.ndarray
) -> np.ndarray:
    """Personal scores of the same images for every user, 0-10, shape (U, I, A), float32, with the same bits.

    Args:
        weight_UAR: weights of each user, float32, with the taste space last.
        alpha_UA, beta_UA: scales and offsets, float32.
        taste_IR: the images in taste space.
        generic_IA: their generic scores, float32.
    """
    delta_UIA = np.empty((len(weight_UAR), *generic_IA.shape))
    wide_BAR = np.empty((min(BLOCK, len(weight_UAR)), *weight_UAR.shape[1:]))
    column_IR1 = np.ascontiguousarray(taste_IR, dtype=np.float64)[:, :, None]
    for start in range(0, len(weight_UAR), BLOCK):
        block_BAR = weight_UAR[start : start + BLOCK]
        wide_BAR[: len(block_BAR)] = block_BAR
        np.matmul(wide_BAR[: len(block_BAR), None], column_IR1, out=delta_UIA[start : start + BLOCK, :, :, None])
    corrected_UIA = alpha_UA[:, None].astype(np.float64) * generic_IA.astype(np.float64) + beta_UA[:, None] + delta_UIA
    return np.clip(corrected_UIA, SCORE_MIN, SCORE_MAX).astype(np.float32)


def score_pairs(
    weight_UAR: np.ndarray,
    alpha_UA: np.ndarray,
    beta_UA: np.ndarray,
    user_N: np.ndarray,
    taste_NR: np.ndarray,
    generic_NA: np.ndarray,
) -> np.ndarray:
    """Personal scores of items, 0-10, shape (N, A), float32, with the same bits.

    Args:
        weight_UAR, alpha_UA, beta_UA: as for `score_grid`.
        user_N: the place of each item's user.
        taste_NR: each item in taste space.
        generic_NA: its generic scores, float32.
    """
    delta_NA = np.empty(generic_NA.shape)
    for start in range(0, len(user_N), BLOCK):
        block = slice(start, start + BLOCK)
        wide_BAR = weight_UAR[user_N[block]].astype(np.float64)
        np.matmul(wide_BAR, taste_NR[block, :, None].astype(np.float64), out=delta_NA[block, :, None])
    corrected_NA = alpha_UA[user_N].astype(np.float64) * generic_NA.astype(np.float64) + beta_UA[user_N] + delta_NA
    return np.clip(corrected_NA, SCORE_MIN, SCORE_MAX).astype(np.float32)
