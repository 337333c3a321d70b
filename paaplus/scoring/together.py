"""Scores of many items of many users at once, with the very bits of `Adapter.score` for each item alone.

Shape letters: N = items, R = taste space dim, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paaplus.records import SCORE_MAX, SCORE_MIN
from paaplus.scoring.adapters import Adapter, TasteVector


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
    score_NA = np.array(generic_NA, np.float32)
    linear = [n for n, adapter in enumerate(adapters_N) if isinstance(adapter, TasteVector)]
    if linear:
        score_NA[linear] = _linear([adapters_N[n] for n in linear], [tastes_N[n] for n in linear], generic_NA[linear])  # type: ignore[misc]  # they are taste vectors
    others = [n for n, adapter in enumerate(adapters_N) if adapter is not None and not isinstance(adapter, TasteVector)]
    for n in others:
        adapter = adapters_N[n]
        assert adapter is not None, "chosen above"
        score_NA[n] = adapter.score(tastes_N[n][None], generic_NA[n : n + 1])[0]
    return score_NA


def _linear(adapters_N: Sequence[TasteVector], tastes_N: Sequence[np.ndarray], generic_NA: np.ndarray) -> np.ndarray:
    num_aspects = generic_NA.shape[1]
    delta_NA = np.empty((len(adapters_N), num_aspects))
    # One buffer each with one alignment, so that BLAS takes the same kernel for every item.
    weight_AR = np.empty((num_aspects, len(tastes_N[0])))
    taste_R = np.empty(weight_AR.shape[1])
    last: TasteVector | None = None
    for n, adapter in enumerate(adapters_N):
        if adapter is not last:
            weight_AR[:] = adapter.weight_RA.T
            last = adapter
        taste_R[:] = tastes_N[n]
        np.dot(weight_AR, taste_R, out=delta_NA[n])
    alpha_NA = np.array([adapter.alpha_A for adapter in adapters_N], np.float64)
    beta_NA = np.array([adapter.beta_A for adapter in adapters_N])
    corrected_NA = alpha_NA * generic_NA.astype(np.float64) + beta_NA + delta_NA
    return np.clip(corrected_NA, SCORE_MIN, SCORE_MAX).astype(np.float32)
