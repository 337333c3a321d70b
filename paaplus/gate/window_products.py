"""What the order evidence needs of every window of blocks: products through an inverse covariance, and its determinant.

A window's rows X (in coordinates of the prior) and columns C (1, generic score, rating) have, for a signal of `ratio`
times the noise, the covariance `S = I + ratio X X'`. Needed are `C' S^-1 C` and `log det S`, for a dozen ratios.

Short windows, by rows: one Cholesky factor of the rows from a window's start on holds those of all its ends, because
the factor of a leading part is the leading part of the factor. With C as further rows, it holds `L^-1 C` as well. From
a window's end backwards it holds those of all its starts, likewise.
Long windows, by directions: a window's Gram matrix is made tridiagonal once (Householder), and every ratio is then
solved in a number of operations that grows with the number of directions only.

Shape letters: N = rows, M = directions, B = blocks, W = windows, T = ratios, D = 3 columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import lapack

NUM_BY_ROWS = 100  # rows of a window up to which the first way is the cheaper one
_NUM_COLUMNS = 3
_IDENTITY_DD = np.eye(_NUM_COLUMNS)
_PRODUCTS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))  # of columns, each once
_PLACE_OF_PRODUCT = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
_SMALL = 32  # size of a matrix up to which NumPy's loop over many is faster than one call of LAPACK for each
_LWORK = 2048  # numbers of LAPACK's work space: 32 columns at a time


@dataclass(frozen=True, eq=False, slots=True)
class BlockSums:
    """Sums over the rows of one block: products of rows, of rows and columns, and of columns."""

    gram_MM: np.ndarray
    projected_MD: np.ndarray
    moment_DD: np.ndarray

    @classmethod
    def of(cls, row_XM: np.ndarray, column_XD: np.ndarray) -> BlockSums:
        return cls(row_XM.T @ row_XM, row_XM.T @ column_XD, column_XD.T @ column_XD)

    @property
    def num_bytes(self) -> int:
        return self.gram_MM.nbytes + self.projected_MD.nbytes + self.moment_DD.nbytes


@dataclass(frozen=True, eq=False)
class BlockRows:
    """Rows in order of their blocks.

    Attributes:
        row_NM: rows in coordinates of the prior.
        column_ND: 1, generic score and rating of each row.
        start_B: the first row of every block, and the number of rows; one more than blocks.
        kernel_NN: products of the rows with each other; None: they are worked out where they are needed.
        sums_B: of every block; None: likewise. Where they are given, only the rows in short windows are read.
    """

    row_NM: np.ndarray
    column_ND: np.ndarray
    start_B: np.ndarray
    kernel_NN: np.ndarray | None = None
    sums_B: Sequence[BlockSums] | None = None

    @classmethod
    def of(
        cls,
        row_NM: np.ndarray,
        column_ND: np.ndarray,
        block_N: np.ndarray,
        num_blocks: int,
        kernel_NN: np.ndarray | None = None,
    ) -> BlockRows:
        """Rows in any order, with the block of each."""
        is_sorted = bool((block_N[1:] >= block_N[:-1]).all())  # as it usually is
        order_N = slice(None) if is_sorted else np.argsort(block_N, kind="stable")
        start_B = np.searchsorted(block_N[order_N], np.arange(num_blocks + 1))
        ordered_NN = None if kernel_NN is None else kernel_NN[order_N][:, order_N]
        return cls(row_NM[order_N], column_ND[order_N], start_B, ordered_NN)

    def moments(self, window_W2: np.ndarray) -> np.ndarray:
        """Products of the columns over each window `[start, end)` of blocks, shape (W, D, D)."""
        start_W, end_W = window_W2.T
        return np.asarray(self._moment_BDD[end_W] - self._moment_BDD[start_W])

    @cached_property
    def _moment_BDD(self) -> np.ndarray:
        """Products of the columns over all rows before each block."""
        if self.sums_B is not None:
            return _before_each(np.stack([sums.moment_DD for sums in self.sums_B]))
        before_NDD = np.zeros((len(self.column_ND) + 1, _NUM_COLUMNS, _NUM_COLUMNS))
        np.cumsum(self.column_ND[:, :, None] * self.column_ND[:, None], axis=0, out=before_NDD[1:])
        return before_NDD[self.start_B]

    def products(self, window_W2: np.ndarray, ratio_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Products of the columns through the inverse covariance (T, W, D, D), and its log determinant (T, W)."""
        start_W, end_W = window_W2.T
        num_W = self.start_B[end_W] - self.start_B[start_W]
        solved_TWDD = np.zeros((len(ratio_T), len(window_W2), _NUM_COLUMNS, _NUM_COLUMNS))
        log_det_TW = np.zeros((len(ratio_T), len(window_W2)))
        short_W = np.flatnonzero((num_W > 0) & (num_W <= NUM_BY_ROWS))
        if len(short_W):
            first_W, end_W = self.start_B[start_W[short_W]], self.start_B[end_W[short_W]]
            if len(np.unique(end_W)) < len(np.unique(first_W)):  # windows with one end share a factor from there on
                found = self._reversed._by_rows(len(self.row_NM) - end_W, num_W[short_W], ratio_T)
            else:
                found = self._by_rows(first_W, num_W[short_W], ratio_T)
            solved_TWDD[:, short_W], log_det_TW[:, short_W] = found
        long_W = np.flatnonzero(num_W > NUM_BY_ROWS)
        if len(long_W):
            solved_TWDD[:, long_W], log_det_TW[:, long_W] = self._by_directions(window_W2[long_W], ratio_T)
        return solved_TWDD, log_det_TW

    @property
    def _reversed(self) -> BlockRows:
        """The rows from the last one on, without blocks."""
        kernel_NN = None if self.kernel_NN is None else self.kernel_NN[::-1, ::-1]
        return BlockRows(self.row_NM[::-1], self.column_ND[::-1], np.zeros(1, np.int64), kernel_NN)

    def _by_rows(self, first_W: np.ndarray, num_W: np.ndarray, ratio_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of windows of `num` rows from their first one on: sums over the rows of the factor of all from there on."""
        most_of: dict[int, int] = {}
        for first, num in zip(first_W.tolist(), num_W.tolist(), strict=True):
            most_of[first] = max(num, most_of.get(first, 0))
        place_of = {first: place for place, first in enumerate(most_of)}
        shape = max(most_of.values()), len(most_of), len(ratio_T)
        summed_XNST = np.zeros((len(_PRODUCTS) + 1, *shape))
        solved_DNST, diagonal_NST = np.zeros((_NUM_COLUMNS, *shape)), np.ones(shape)
        for place, (first, num) in enumerate(most_of.items()):
            factor_TXX = self._factor(first, num, ratio_T)
            solved_DNST[:, :num, place] = factor_TXX[:, :num, num:].transpose(2, 1, 0)
            diagonal_NST[:num, place] = factor_TXX.reshape(len(ratio_T), -1)[:, _diagonal(num)].T
        for x, (d, e) in enumerate(_PRODUCTS):
            np.multiply(solved_DNST[d], solved_DNST[e], out=summed_XNST[x])
        np.log(diagonal_NST, out=summed_XNST[-1])
        np.cumsum(summed_XNST, axis=1, out=summed_XNST)
        place_W = np.array([place_of[first] for first in first_W.tolist()])
        summed_TXW = summed_XNST[:, num_W - 1, place_W].transpose(2, 0, 1)
        solved_TWDD = (summed_TXW[:, _PLACE_OF_PRODUCT] / ratio_T[:, None, None, None]).transpose(0, 3, 1, 2)
        return solved_TWDD, 2.0 * summed_TXW[:, -1] + np.log(ratio_T)[:, None] * num_W

    def _factor(self, first: int, num: int, ratio_T: np.ndarray) -> np.ndarray:
        """Upper factors of `S / ratio` of some rows, with C as last columns. Only the diagonal has the ratio in it."""
        size, column_ND = num + _NUM_COLUMNS, self.column_ND[first : first + num]
        factor_TXX = np.empty((len(ratio_T), size, size))  # what is below the diagonal is not read
        factor_TXX[:, :num, :num] = self._kernel(first, num)
        factor_TXX[:, :num, num:] = column_ND
        factor_TXX[:, num:, num:] = ratio_T.max() * (column_ND.T @ column_ND) + _IDENTITY_DD  # above ratio C' S^-1 C
        factor_TXX.reshape(len(ratio_T), -1)[:, _diagonal(num)] += 1.0 / ratio_T[:, None]
        if size < _SMALL:
            return np.linalg.cholesky(factor_TXX, upper=True)
        for factor_XX in factor_TXX:  # in place: LAPACK counts by columns, so that its lower triangle is our upper one
            _, info = lapack.dpotrf(factor_XX.T, lower=1, clean=0, overwrite_a=1)
            if info:
                raise np.linalg.LinAlgError(f"dpotrf: {info}")
        return factor_TXX

    def _kernel(self, first: int, num: int) -> np.ndarray:
        """Products of some rows with each other, shape (num, num)."""
        part = slice(first, first + num)
        if self._whole_kernel_NN is not None:
            return self._whole_kernel_NN[part, part]
        return np.asarray(self.row_NM[part] @ self.row_NM[part].T)

    @cached_property
    def _whole_kernel_NN(self) -> np.ndarray | None:
        """Of all rows, where so many windows share their products that one of all rows is cheaper; else None."""
        if self.kernel_NN is not None:
            return self.kernel_NN
        return self.row_NM @ self.row_NM.T if len(self.row_NM) <= 2 * NUM_BY_ROWS else None

    def _by_directions(self, window_W2: np.ndarray, ratio_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sums_B = self.sums_B if self.sums_B is not None else self._summed()
        before_BMM = _before_each(np.stack([sums.gram_MM for sums in sums_B]))
        before_BMD = _before_each(np.stack([sums.projected_MD for sums in sums_B]))
        start_W, end_W = window_W2.T
        projected_WMD = before_BMD[end_W] - before_BMD[start_W]
        diagonal_WM, beside_WM, rotated_WMD = _tridiagonal(before_BMM, window_W2, projected_WMD)
        removed_TWDD, log_det_TW = _solve_tridiagonal(diagonal_WM, beside_WM, rotated_WMD, ratio_T)
        return self.moments(window_W2) - removed_TWDD, log_det_TW

    def _summed(self) -> list[BlockSums]:
        places = zip(self.start_B[:-1], self.start_B[1:], strict=True)
        return [BlockSums.of(self.row_NM[first:end], self.column_ND[first:end]) for first, end in places]


def _diagonal(num: int) -> slice:
    """The first numbers of the diagonal of a flat matrix that has rows for the columns too."""
    return slice(0, num * (num + _NUM_COLUMNS), num + _NUM_COLUMNS + 1)


def _before_each(value_BXY: np.ndarray) -> np.ndarray:
    """Sums over the blocks before each one, and over all; one more than blocks."""
    before_BXY = np.zeros((len(value_BXY) + 1, *value_BXY.shape[1:]))
    for place, value_XY in enumerate(value_BXY):  # `np.cumsum` takes ten times as long along the first axis
        np.add(before_BXY[place], value_XY, out=before_BXY[place + 1])
    return before_BXY


def _tridiagonal(
    before_BMM: np.ndarray, window_W2: np.ndarray, projected_WMD: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each window's Gram matrix as `Q T Q'` with a tridiagonal T: its diagonal, the one beside, and `Q' projected`."""
    num_windows, num_directions = projected_WMD.shape[:2]
    gram_MM = np.empty((num_directions, num_directions))  # symmetric, so that LAPACK may take its rows for columns
    diagonal_WM = np.empty((num_windows, num_directions))
    beside_WM = np.zeros((num_windows, max(num_directions - 1, 0)))
    rotated_WMD = np.array(projected_WMD)
    for w, (start, end) in enumerate(window_W2.tolist()):
        np.subtract(before_BMM[end], before_BMM[start], out=gram_MM)
        reflectors_MM, diagonal_WM[w], beside_WM[w], tau_M, info = lapack.dsytrd(
            gram_MM.T, lower=1, lwork=_LWORK, overwrite_a=1
        )
        assert info == 0, f"dsytrd: {info}"
        if num_directions > 1:
            rotated, _, info = lapack.dormqr("L", "T", reflectors_MM[1:, :-1], tau_M, projected_WMD[w, 1:], _LWORK)
            assert info == 0, f"dormqr: {info}"
            rotated_WMD[w, 1:] = rotated
    return diagonal_WM, beside_WM, rotated_WMD


def _solve_tridiagonal(
    diagonal_WM: np.ndarray, beside_WM: np.ndarray, rotated_WMD: np.ndarray, ratio_T: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`ratio p' (I + ratio T)^-1 p` (T, W, D, D) and `log det(I + ratio T)` (T, W), by elimination."""
    num_windows, num_directions, num_columns = rotated_WMD.shape
    ratio_T1, right_MDW = ratio_T[:, None], np.ascontiguousarray(rotated_WMD.transpose(1, 2, 0))
    diagonal_MW = np.ascontiguousarray(diagonal_WM.T)
    beside_MW = np.concatenate([np.zeros((1, num_windows)), beside_WM.T])  # of each direction and the one before
    pivot_MTW = np.empty((num_directions, len(ratio_T), num_windows))
    pivot_TW, left_DTW = np.ones(pivot_MTW.shape[1:]), np.zeros((num_columns, *pivot_MTW.shape[1:]))
    summed = [np.zeros_like(left_DTW[apart:]) for apart in range(num_columns)]
    for m in range(num_directions):
        beside_TW = ratio_T1 * beside_MW[m]
        factor_TW = beside_TW / pivot_TW
        pivot_TW = np.subtract(1.0 + ratio_T1 * diagonal_MW[m], factor_TW * beside_TW, out=pivot_MTW[m])
        left_DTW = right_MDW[m][:, None] - factor_TW * left_DTW
        weighted_DTW = left_DTW * (ratio_T1 / pivot_TW)
        for apart, sum_XTW in enumerate(summed):  # of columns and themselves, the next ones, and so on
            sum_XTW += left_DTW[: num_columns - apart] * weighted_DTW[apart:]
    solved_TWDD = np.empty((len(ratio_T), num_windows, num_columns, num_columns))
    for apart, sum_XTW in enumerate(summed):
        for d, sum_TW in enumerate(sum_XTW):
            solved_TWDD[:, :, d, d + apart] = solved_TWDD[:, :, d + apart, d] = sum_TW
    return solved_TWDD, np.log(pivot_MTW).sum(axis=0)
