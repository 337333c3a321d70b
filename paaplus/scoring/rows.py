"""Matrix products whose rows do not depend on their neighbours.

A BLAS matrix-matrix product blocks over the batch, so the same row can differ in its last bits with the batch
size. One matrix-vector product per row, always of the same shape, in float64, cannot.
"""

from __future__ import annotations

import numpy as np


def rowwise_matmul(x_BD: np.ndarray, weight_DR: np.ndarray) -> np.ndarray:
    """`x_BD @ weight_DR`, one row at a time, in float64: shape (B, R)."""
    weight_RD = np.ascontiguousarray(weight_DR.T, dtype=np.float64)
    out_BR = np.empty((len(x_BD), weight_RD.shape[0]), np.float64)
    row_D = np.empty(weight_RD.shape[1], np.float64)
    for b, x_D in enumerate(x_BD):
        row_D[:] = x_D  # one buffer, one alignment: every row meets the same kernel
        np.dot(weight_RD, row_D, out=out_BR[b])
    return out_BR
