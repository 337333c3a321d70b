"""Sums over rows of a regression, in place of the rows. In a file of their own: they do not need SciPy.

Shape letter: K = coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False, slots=True)
class RowSums:
    """What a posterior needs of further rows, which are not at hand: sums over them.

    Attributes:
        gram_KK: of products of their regressors.
        moment_K: of products of regressors and targets.
        square: of squares of their targets.
        num_rows: how many they are.
    """

    gram_KK: np.ndarray
    moment_K: np.ndarray
    square: float
    num_rows: int
