"""Blocks: a user's feedback in order, cut at fixed places, so that evidence does not depend on when trainings ran.

The newest feedback is cut finely, older feedback ever more coarsely: the number of blocks grows with the logarithm of
the number of answers. Coarse blocks are unions of fine ones.
"""

from __future__ import annotations

import numpy as np

BLOCK_SIZE = 10  # answers
_NUM_FINE, _NUM_COARSE = 12, 4  # blocks of the usual size, and of each larger size


def block_starts(num_answers: int) -> np.ndarray:
    """Index of the first answer of every block, and the number of answers; shape (B + 1,)."""
    if num_answers == 0:
        return np.zeros(1, np.int64)
    starts = [num_answers]
    size, count = BLOCK_SIZE, _NUM_FINE
    while starts[-1] > 0:
        newest = starts[-1]
        first = newest - count * size
        first = 0 if first <= 0 else -(-first // (2 * size)) * 2 * size
        starts += range(-(-newest // size) * size - size, first - 1, -size)
        size, count = 2 * size, _NUM_COARSE
    return np.array(starts[::-1], np.int64)
