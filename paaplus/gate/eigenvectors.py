"""Some eigenvectors of a symmetric matrix, and the directions in which rows have the most energy.

The matrix is made tridiagonal, all eigenvalues are found without vectors, and only the wanted vectors by inverse
iteration. For a quarter of 258 that takes two thirds of the time of all.

Shape letters: X = rows, also of the matrix, N = the same, K = coordinates, M = eigenvectors or directions.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

_BLOCK = 32  # columns that LAPACK works on at a time


def some_eigenvectors(symmetric_XX: np.ndarray, chosen: slice) -> tuple[np.ndarray, np.ndarray]:
    """Neighbouring eigenvalues (M,), in increasing order, and their eigenvectors (X, M), orthonormal.

    Args:
        symmetric_XX: float64.
        chosen: places among all eigenvalues in increasing order.

    Raises:
        LinAlgError: numbers that are not finite.
    """
    if len(range(*chosen.indices(len(symmetric_XX)))) <= len(symmetric_XX) // 2:
        found = _by_inverse_iteration(symmetric_XX, chosen)
        if found is not None:
            return found
    value_X, vector_XX = np.linalg.eigh(symmetric_XX)
    return value_X[chosen], vector_XX[:, chosen]


def in_leading_directions(row_NK: np.ndarray, num_directions: int) -> np.ndarray:
    """Rows with the products with each other that these have in the directions with the most energy."""
    num_rows, num_coordinates = row_NK.shape
    if min(num_rows, num_coordinates) <= num_directions:
        return row_NK
    if num_rows >= num_coordinates:
        return row_NK @ some_eigenvectors(row_NK.T @ row_NK, slice(num_coordinates - num_directions, None))[1]
    # Fewer rows than coordinates: the rows in those directions are eigenvectors themselves, without the directions.
    value_M, vector_NM = some_eigenvectors(row_NK @ row_NK.T, slice(num_rows - num_directions, None))
    kept_M = value_M > 1e-10 * max(float(value_M[-1]), 1e-300)
    return np.asarray(vector_NM[:, kept_M] * np.sqrt(value_M[kept_M]))


def leading_directions(row_XK: np.ndarray, num_directions: int) -> np.ndarray:
    """Orthonormal directions with the most energy of the rows, shape (K, M)."""
    num_rows, num_coordinates = row_XK.shape
    if num_rows < num_coordinates:
        value_X, vector_XX = np.linalg.eigh(row_XK @ row_XK.T)
        kept = value_X > 1e-10 * max(float(value_X[-1]) if num_rows else 0.0, 1e-300)
        kept[: max(num_rows - num_directions, 0)] = False
        return row_XK.T @ (vector_XX[:, kept] / np.sqrt(value_X[kept]))
    return some_eigenvectors(row_XK.T @ row_XK, slice(-min(num_directions, num_coordinates), None))[1]


def _by_inverse_iteration(symmetric_XX: np.ndarray, chosen: slice) -> tuple[np.ndarray, np.ndarray] | None:
    """None: an iteration did not converge."""
    size = len(symmetric_XX)
    reflectors_XX, diagonal_X, beside_X, tau_X, _ = lapack.dsytrd(symmetric_XX, lower=1, lwork=size * _BLOCK)
    value_X, failed = lapack.dsterf(diagonal_X, beside_X)
    if failed or not np.isfinite(value_X).all():
        return None
    block_X, end_X = np.ones(size, np.int32), np.zeros(size, np.int32)
    end_X[0] = size
    value_M = value_X[chosen]
    vector_XM, failed = lapack.dstein(diagonal_X, beside_X, value_M, block_X, end_X)
    if failed:
        return None
    turned, _, _ = lapack.dormqr("L", "N", reflectors_XX[1:, :-1], tau_X, vector_XM[1:], size * _BLOCK)
    vector_XM[1:] = turned
    return value_M, vector_XM
