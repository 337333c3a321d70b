"""Scores of many items of many users at once, with the very bits of `Adapter.score` for each item alone.

Shape letters: N = items, R = taste space dim, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from paaplus.records import SCORE_MAX, SCORE_MIN
from paaplus.scoring.adapters import Adapter, TasteVector

BLOCK: Final = 512  # items at once: their weights in float64 stay in the processor's cache


def score_together(
    adapters_N: Sequence[Adapter | None], tastes_N: Sequence[np.ndarray], generic_NA: np.ndarray
) -> np.ndarray:
    """Personal scores, 0-10, shape (N, A), float32; the generic scores where there is no adapter.

    Products are made item by item, as in `rowwise_matmul`. What follows works number by number, so it is done for all
    items at once: that is most of the cost when every item is of another user.

    Args:
        adapters_N: each item's adapter. Items of one user should be neighbours.
        tastes_N: each item in taste space, shape (R,).
        generic_NA: their generic scores, float32.
    """
    linear = [n for n, adapter in enumerate(adapters_N) if isinstance(adapter, TasteVector)]
    if len(linear) == len(adapters_N):
        return _linear(adapters_N, tastes_N, generic_NA)  # type: ignore[arg-type]  # they are taste vectors
    score_NA = np.array(generic_NA, np.float32)
    if linear:
        score_NA[linear] = _linear([adapters_N[n] for n in linear], [tastes_N[n] for n in linear], generic_NA[linear])  # type: ignore[misc]  # they are taste vectors
    others = [n for n, adapter in enumerate(adapters_N) if adapter is not None and not isinstance(adapter, TasteVector)]
    for n in others:
        adapter = adapters_N[n]
        assert adapter is not None, "chosen above"
        score_NA[n] = adapter.score(tastes_N[n][None], generic_NA[n : n + 1])[0]
    return score_NA


def _linear(adapters_N: Sequence[TasteVector], tastes_N: Sequence[np.ndarray], generic_NA: np.ndarray) -> np.ndarray:
    # `concatenate` is several times as fast as `array` of many small arrays.
    alpha_NA = np.concatenate([adapter.alpha_A for adapter in adapters_N], dtype=np.float64).reshape(generic_NA.shape)
    beta_NA = np.concatenate([adapter.beta_A for adapter in adapters_N]).reshape(generic_NA.shape)
    delta_NA = np.empty(generic_NA.shape)
    for start in range(0, len(adapters_N), BLOCK):
        block = slice(start, start + BLOCK)
        delta_NA[block] = _products(adapters_N[block], tastes_N[block])
    corrected_NA = alpha_NA * generic_NA.astype(np.float64) + beta_NA + delta_NA
    return np.clip(corrected_NA, SCORE_MIN, SCORE_MAX).astype(np.float32)


def _products(adapters_N: Sequence[TasteVector], tastes_N: Sequence[np.ndarray]) -> np.ndarray:
    """Each item's taste with its adapter's weights, shape (N, A), float64.

    `matmul` makes one product for each item, by the same routine as `rowwise_matmul`.
    """
    first = [n for n, adapter in enumerate(adapters_N) if n == 0 or adapter is not adapters_N[n - 1]]
    of_users = [adapters_N[n].weight_RA for n in first]  # of neighbours that are the same: once
    weight_DRA = np.concatenate(of_users, dtype=np.float64).reshape(len(first), *of_users[0].shape)
    weight_DAR = np.ascontiguousarray(weight_DRA.transpose(0, 2, 1))
    if 1 < len(first) < len(adapters_N):
        weight_DAR = weight_DAR[np.repeat(np.arange(len(first)), np.diff([*first, len(adapters_N)]))]
    taste_NR = np.concatenate(tastes_N, dtype=np.float64).reshape(len(tastes_N), -1)
    return np.matmul(weight_DAR, taste_NR[:, :, None])[:, :, 0]
