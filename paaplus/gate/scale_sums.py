"""Sums of densities over a person's scale: the logarithm of `sum of exp(log density)` over scales, many at once.

With `u = 1 / scale`, the log density of `num` ratings is `-curve u^2 / 2 + slope u + (num - 1) log u`: it rises to one
maximum and falls, the steeper the more ratings there are. Only the scales that count are summed: away from the maximum
at `u*` by `t = log(u / u*)`, it is lower by `curve u*^2 (e^t - 1)^2 / 2 + (num - 1) (e^t - 1 - t)`. Sums of like
maximum and number of ratings are computed together, one product for all their scales.

Shape letters: X = sums, S = scales.
"""

from __future__ import annotations

import math

import numpy as np

_NUM_SCALES = 56
_LOG_SCALE_S = np.linspace(math.log(0.02), math.log(20.0), _NUM_SCALES)  # of a person's scale, in score points
_STEP = float(_LOG_SCALE_S[1] - _LOG_SCALE_S[0])
_INVERSE_SCALE_S = np.exp(-_LOG_SCALE_S)
_TERM_S4 = np.column_stack([-0.5 * np.square(_INVERSE_SCALE_S), _INVERSE_SCALE_S, -_LOG_SCALE_S, -np.ones(_NUM_SCALES)])
_LEAST_LOG = -40.0  # of a density beside the highest of its sum: lower ones change nothing in its fifteen digits
_NUM_AT_ONCE = 512  # sums whose densities fit into the processor's cache
_TINY = 1e-200
_AWAY_2K = np.stack([np.arange(_NUM_SCALES), -np.arange(_NUM_SCALES)]) * _STEP  # t: to smaller, to larger scales
_CURVE_2K, _NUM_2K = 0.5 * np.square(np.expm1(_AWAY_2K)), np.expm1(_AWAY_2K) - _AWAY_2K
_HALF_CURVE, _HALF_NUM = 0.5 * math.expm1(_STEP / 2) ** 2, math.expm1(_STEP / 2) - _STEP / 2


def log_sums(curve_X: np.ndarray, slope_X: np.ndarray, num_X: np.ndarray) -> np.ndarray:
    """The logarithms of the sums, shape (X,), float64.

    Args:
        curve_X: 0 or more, but for rounding.
        slope_X: any numbers.
        num_X: of ratings, more than 1.
    """
    fallen_X = num_X - 1.0
    place_X, bend_X = _maxima(curve_X, slope_X, fallen_X)
    lower_X = np.minimum(place_X.astype(np.int64), _NUM_SCALES - 2)
    term_4X = np.stack([curve_X, slope_X, fallen_X, np.zeros(len(curve_X))])
    term_4X[3] = np.maximum(
        (_TERM_S4[lower_X].T * term_4X).sum(axis=0), (_TERM_S4[lower_X + 1].T * term_4X).sum(axis=0)
    )
    order_X = np.argsort((64 * (4.0 * np.log2(num_X)).astype(np.int64) + lower_X).astype(np.int16), kind="stable")
    sorted_4X, lower_X, bend_X = term_4X[:, order_X], lower_X[order_X], bend_X[order_X]
    log_X = np.empty(len(curve_X))
    for first in range(0, len(order_X), _NUM_AT_ONCE):
        part_X = slice(first, first + _NUM_AT_ONCE)
        used_S = _counting(lower_X[part_X], bend_X[part_X].min(), sorted_4X[2, part_X].min())
        density_SX = _TERM_S4[used_S] @ sorted_4X[:, part_X]
        np.maximum(density_SX, _LEAST_LOG, out=density_SX)  # exp is slow where it is near 0
        log_X[part_X] = np.log(np.exp(density_SX, out=density_SX).sum(axis=0))
    found_X = term_4X[3]
    found_X[order_X] += log_X
    return found_X


def _maxima(curve_X: np.ndarray, slope_X: np.ndarray, fallen_X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the maxima among the scales, clipped to these, and `curve u*^2`, 0 where `u*` is above all."""
    curve_X = np.maximum(curve_X, 0.0)
    root_X = np.sqrt(np.square(slope_X) + 4.0 * curve_X * fallen_X)
    rising_X = (slope_X + root_X) / np.maximum(2.0 * curve_X, _TINY)
    falling_X = 2.0 * fallen_X / np.maximum(root_X - slope_X, _TINY)  # the same without a difference of like numbers
    at_X = np.clip(np.where(slope_X > 0.0, rising_X, falling_X), 1e-100, 1e100)
    place_X = (-np.log(at_X) - _LOG_SCALE_S[0]) / _STEP
    bend_X = np.where(place_X < 0.0, 0.0, curve_X * np.square(at_X))
    return np.clip(np.nan_to_num(place_X), 0.0, _NUM_SCALES - 1.0), bend_X


def _counting(lower_X: np.ndarray, bend: float, fallen: float) -> slice:
    """The scales that count for any of some sums, whose `curve u*^2` and `num - 1` are these at least."""
    least = -_LEAST_LOG + bend * _HALF_CURVE + fallen * _HALF_NUM  # the nearest scale is half a step away at most
    num_2 = (~(bend * _CURVE_2K + fallen * _NUM_2K > least)).sum(axis=1)
    return slice(max(int(lower_X.min()) - int(num_2[0]), 0), int(lower_X.max()) + int(num_2[1]) + 2)
