"""What the order evidence needs of every window of blocks: products through an inverse covariance, and its determinant.

A window's rows X (in coordinates of the prior) and columns C (1, generic score, rating) have, for a signal of `ratio`
times the noise, the covariance `S = I + ratio X X'`. Needed are `C' S^-1 C` and `log det S`, for a dozen ratios.

Short windows, by rows: one Cholesky factor of the rows from a window's start on holds those of all its ends, because
the factor of a leading part is the leading part of the factor. With C as further rows, it holds `L^-1 C` as well.
Long windows, by directions: a window's Gram matrix is made tridiagonal once (Householder), and every ratio is then
solved in a number of operations that grows with the number of directions only.

Shape letters: N = rows, M = directions, B = blocks, W = windows, T = ratios, D = 3 columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import lapack

_NUM_BY_ROWS = 100  # rows of a window up to which the first way is the cheaper one
_NUM_COLUMNS = 3
_IDENTITY_DD = np.eye(_NUM_COLUMNS)
_LWORK = 2048  # numbers of LAPACK's work space: 32 columns at a time


@dataclass(frozen=True, eq=False)
class BlockRows:
    """Rows in order of their blocks.

    Attributes:
        row_NM: rows in coordinates of the prior.
        column_ND: 1, generic score and rating of each row.
        start_B: the first row of every block, and the number of rows; one more than blocks.
    """

    row_NM: np.ndarray
    column_ND: np.ndarray
    start_B: np.ndarray

    @classmethod
    def of(cls, row_NM: np.ndarray, column_ND: np.ndarray, block_N: np.ndarray, num_blocks: int) -> BlockRows:
        """Rows in any order, with the block of each."""
        order_N = np.argsort(block_N, kind="stable")
        start_B = np.searchsorted(block_N[order_N], np.arange(num_blocks + 1))
        return cls(row_NM[order_N], column_ND[order_N], start_B)

    def moments(self, window_W2: np.ndarray) -> np.ndarray:
        """Products of the columns over each window `[start, end)` of blocks, shape (W, D, D)."""
        return _over_windows(self._column_BDD, window_W2)

    @cached_property
    def _column_BDD(self) -> np.ndarray:
        return self._by_block(self.column_ND, self.column_ND)

    def products(self, window_W2: np.ndarray, ratio_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Products of the columns through the inverse covariance (T, W, D, D), and its log determinant (T, W)."""
        start_W, end_W = window_W2.T
        num_W = self.start_B[end_W] - self.start_B[start_W]
        solved_TWDD = np.zeros((len(ratio_T), len(window_W2), _NUM_COLUMNS, _NUM_COLUMNS))
        log_det_TW = np.zeros((len(ratio_T), len(window_W2)))
        for start in np.unique(start_W):
            at_W = np.flatnonzero((start_W == start) & (num_W > 0) & (num_W <= _NUM_BY_ROWS))
            if len(at_W):
                solved_TWDD[:, at_W], log_det_TW[:, at_W] = self._by_rows(self.start_B[start], num_W[at_W], ratio_T)
        long_W = np.flatnonzero(num_W > _NUM_BY_ROWS)
        if len(long_W):
            solved_TWDD[:, long_W], log_det_TW[:, long_W] = self._by_directions(window_W2[long_W], ratio_T)
        return solved_TWDD, log_det_TW

    def _by_rows(self, first: int, num_W: np.ndarray, ratio_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        num = int(num_W.max())
        column_ND = self.column_ND[first : first + num]
        joint_TXX = np.empty((len(ratio_T), num + _NUM_COLUMNS, num + _NUM_COLUMNS))
        np.multiply(ratio_T[:, None, None], self._kernel(first, num), out=joint_TXX[:, :num, :num])  # large: no copies
        joint_TXX.reshape(len(ratio_T), -1)[:, : num * (num + _NUM_COLUMNS) : num + _NUM_COLUMNS + 1] += 1.0
        joint_TXX[:, num:, :num] = column_ND.T
        joint_TXX[:, :num, num:] = column_ND
        joint_TXX[:, num:, num:] = column_ND.T @ column_ND + _IDENTITY_DD  # above C' S^-1 C
        factor_TXX = np.linalg.cholesky(joint_TXX)
        log_diagonal_TN = np.log(np.diagonal(factor_TXX[:, :num, :num], axis1=1, axis2=2))
        solved_TND = factor_TXX[:, num:, :num].transpose(0, 2, 1)
        square_TNX = (solved_TND[..., :, None] * solved_TND[..., None, :]).reshape(len(ratio_T), num, -1)
        within_WN = (np.arange(num) < num_W[:, None]).astype(np.float64)
        summed_TWX = within_WN @ square_TNX
        log_det_TW = 2.0 * log_diagonal_TN @ within_WN.T
        return summed_TWX.reshape(len(ratio_T), len(num_W), _NUM_COLUMNS, _NUM_COLUMNS), log_det_TW

    def _kernel(self, first: int, num: int) -> np.ndarray:
        """Products of some rows with each other, shape (num, num)."""
        part = slice(first, first + num)
        if self._whole_kernel_NN is not None:
            return self._whole_kernel_NN[part, part]
        return np.asarray(self.row_NM[part] @ self.row_NM[part].T)

    @cached_property
    def _whole_kernel_NN(self) -> np.ndarray | None:
        """Of all rows, where so many windows share their products that one of all rows is cheaper; else None."""
        return self.row_NM @ self.row_NM.T if len(self.row_NM) <= 2 * _NUM_BY_ROWS else None

    def _by_directions(self, window_W2: np.ndarray, ratio_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gram_WMM = _over_windows(self._by_block(self.row_NM, self.row_NM), window_W2)
        projected_WMD = _over_windows(self._by_block(self.row_NM, self.column_ND), window_W2)
        diagonal_WM, beside_WM, rotated_WMD = _tridiagonal(gram_WMM, projected_WMD)
        removed_TWDD, log_det_TW = _solve_tridiagonal(diagonal_WM, beside_WM, rotated_WMD, ratio_T)
        return self.moments(window_W2) - removed_TWDD, log_det_TW

    def _by_block(self, left_NX: np.ndarray, right_NY: np.ndarray) -> np.ndarray:
        """Products over the rows of each block, shape (B, X, Y)."""
        places = zip(self.start_B[:-1], self.start_B[1:], strict=True)
        return np.stack([left_NX[first:end].T @ right_NY[first:end] for first, end in places])


def _over_windows(value_BXY: np.ndarray, window_W2: np.ndarray) -> np.ndarray:
    """Sums over the blocks of each window, shape (W, X, Y)."""
    start_W, end_W = window_W2.T
    summed = np.concatenate([np.zeros((1, *value_BXY.shape[1:])), np.cumsum(value_BXY, axis=0)])
    return np.asarray(summed[end_W] - summed[start_W])


def _tridiagonal(gram_WMM: np.ndarray, projected_WMD: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each Gram matrix as `Q T Q'` with a tridiagonal T: its diagonal, the one beside it, and `Q' projected`."""
    num_windows, num_directions = gram_WMM.shape[:2]
    diagonal_WM = np.empty((num_windows, num_directions))
    beside_WM = np.zeros((num_windows, max(num_directions - 1, 0)))
    rotated_WMD = np.array(projected_WMD)
    for w in range(num_windows):
        reflectors_MM, diagonal_WM[w], beside_WM[w], tau_M, info = lapack.dsytrd(gram_WMM[w], lower=1, lwork=_LWORK)
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
    ratio_T1 = ratio_T[:, None]
    pivot_MTW = np.empty((num_directions, len(ratio_T), num_windows))
    left_MTWD = np.empty((num_directions, len(ratio_T), num_windows, num_columns))
    pivot_MTW[0], left_MTWD[0] = 1.0 + ratio_T1 * diagonal_WM[:, 0], rotated_WMD[:, 0]
    for m in range(1, num_directions):
        beside_TW = ratio_T1 * beside_WM[:, m - 1]
        factor_TW = beside_TW / pivot_MTW[m - 1]
        pivot_MTW[m] = 1.0 + ratio_T1 * diagonal_WM[:, m] - factor_TW * beside_TW
        left_MTWD[m] = rotated_WMD[:, m] - factor_TW[..., None] * left_MTWD[m - 1]
    left_TWMD = left_MTWD.transpose(1, 2, 0, 3)
    weighted_TWMD = left_TWMD * (ratio_T[:, None] / pivot_MTW).transpose(1, 2, 0)[..., None]
    return left_TWMD.transpose(0, 1, 3, 2) @ weighted_TWMD, np.log(pivot_MTW).sum(axis=0)
