"""The four measures of DA3Attacker, from scores before and after an attack.

On the platform's scale the cut is 5: a mean of 5.5 of ten bins 1-10 is exactly there. MSI is in points of the scores'
scale.

Shape letters: N = images, T = moments.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.metrics import SCORE_MIDDLE


def basr(clean_N: Sequence[float], attacked_N: Sequence[float], cut: float = SCORE_MIDDLE) -> float | None:
    """Binary attack success rate: of the images at or below the cut, the percentage that got above it.

    None if no image is at or below the cut.
    """
    clean, attacked = _pair(clean_N, attacked_N)
    low = clean <= cut
    return float(100.0 * (attacked[low] > cut).mean()) if low.any() else None


def rasr(clean_N: Sequence[float], attacked_N: Sequence[float]) -> float:
    """Rise attack success rate: the percentage of images whose score rose; equal is no rise."""
    clean, attacked = _pair(clean_N, attacked_N)
    return float(100.0 * (attacked > clean).mean())


def msi(clean_N: Sequence[float], attacked_N: Sequence[float]) -> float:
    """Mean score increase over all images, risen or not."""
    clean, attacked = _pair(clean_N, attacked_N)
    return float((attacked - clean).mean())


def art(moment_T: Sequence[float], rasr_T: Sequence[float], tolerance: float | None = None) -> float | None:
    """Average required time: the first moment of the highest RASR.

    With a tolerance, the first moment from which RASR stays within so many percentage points of its highest value; None
    if it does not stay there.
    """
    moments, rates = _pair(moment_T, rasr_T)
    if tolerance is None:
        return float(moments[rates.argmax()])
    near = rates >= rates.max() - tolerance
    stays = np.logical_and.accumulate(near[::-1])[::-1]
    return float(moments[stays.argmax()]) if stays.any() else None


def _pair(first: Sequence[float], second: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != two.shape or one.ndim != 1 or not len(one):
        raise InvalidInput(f"{one.shape} and {two.shape} numbers: one length, 1 or more")
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise InvalidInput("numbers that are NaN or infinite")
    return one, two
