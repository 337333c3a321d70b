"""Sums of products of rows that are exact: the same bits in any order, and after rows were added and taken away.

Numbers are rounded to a grid and become integers, each of which is split into a high and a low half. Products of halves
and sums of such products are integers too. As long as none exceeds 2^53, float64 holds each of them exactly, so that
any BLAS gives them in any order (the error-free products of the Ozaki scheme). That nothing exceeds it is checked: by
the inequality of Cauchy and Schwarz no sum of absolute products is above the largest sum of squares.

Shape letters: N = rows, Q = columns, H = halves of columns: the high ones, then the low ones.

Source: Ozaki, Ogita, Oishi and Rump, "Error-free transformations of matrix multiplication by using fast routines of
matrix multiplication and its applications" (2012).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

GRID_BITS: Final = 34  # a column is rounded to 2^-34 of its unit
LOW_BITS: Final = 19  # of the lower half: 2^18 at most, either way
_LARGEST: Final = 2.0**52  # sum of squares; what is computed of a larger one is not below it either, however it rounds
_TOGETHER: Final = 1_000  # rows, whose halves stay in the processor's cache


@dataclass(frozen=True, eq=False, slots=True)
class ExactSums:
    """Products of the halves of all rows, summed; symmetric, shape (H, H)."""

    sum_HH: np.ndarray

    @classmethod
    def of(cls, row_NQ: np.ndarray) -> ExactSums | None:
        """Those of rows, in units of their columns; None: they are too many or too large for exact sums."""
        sum_HH = np.zeros((2 * row_NQ.shape[1],) * 2)
        for first in range(0, len(row_NQ), _TOGETHER):
            half_NH = _halves(row_NQ[first : first + _TOGETHER])
            sum_HH += half_NH.T @ half_NH
        return _if_exact(sum_HH)

    def changed(self, removed_NQ: np.ndarray, added_NQ: np.ndarray) -> ExactSums | None:
        """Without some of the rows, and with other ones; None also if these alone are too many for one product."""
        half_NH = _halves(np.concatenate([removed_NQ, added_NQ]))
        if not np.square(half_NH).sum(axis=0).max(initial=0.0) <= _LARGEST:
            return None
        signed_NH = half_NH.copy()
        signed_NH[: len(removed_NQ)] *= -1.0
        change_HH = half_NH.T @ signed_NH
        change_HH += self.sum_HH
        return _if_exact(change_HH)

    def gram(self) -> np.ndarray:
        """The sums of products of the columns, shape (Q, Q), rounded at the end only."""
        num = len(self.sum_HH) // 2
        high_QQ, mixed_QQ, low_QQ = self.sum_HH[:num, :num], self.sum_HH[:num, num:], self.sum_HH[num:, num:]
        gram_QQ = (mixed_QQ + mixed_QQ.T) * 2.0**-LOW_BITS
        gram_QQ += low_QQ * 4.0**-LOW_BITS
        gram_QQ += high_QQ
        gram_QQ *= 4.0 ** (LOW_BITS - GRID_BITS)
        return gram_QQ

    @property
    def num_bytes(self) -> int:
        return self.sum_HH.nbytes


def _halves(row_NQ: np.ndarray) -> np.ndarray:
    """The integers that numbers are rounded to, each as two: `2^19 high + low`."""
    num = row_NQ.shape[1]
    half_NH = np.empty((len(row_NQ), 2 * num))
    high_NQ, low_NQ = half_NH[:, :num], half_NH[:, num:]
    np.multiply(row_NQ, 2.0**GRID_BITS, out=low_NQ)
    np.rint(low_NQ, out=low_NQ)
    np.multiply(low_NQ, 2.0**-LOW_BITS, out=high_NQ)
    np.rint(high_NQ, out=high_NQ)
    low_NQ -= high_NQ * 2.0**LOW_BITS
    return half_NH


def _if_exact(sum_HH: np.ndarray) -> ExactSums | None:
    """The sums, if none of them can have been rounded; also not if they are no numbers."""
    return ExactSums(sum_HH) if sum_HH.diagonal().max(initial=0.0) <= _LARGEST else None
