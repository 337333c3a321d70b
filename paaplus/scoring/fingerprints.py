"""Fingerprints of rows, whose sums tell sets of rows apart within one process.

A row's numbers, as 32-bit words, are multiplied by random numbers of this process and summed modulo 2^64, twice: two
rows that differ have the same sums with a probability of 2^-64 or so, whatever the rows. The sums are then scrambled,
so that those of several rows may be added.

Shape letters: X = rows, F = words of a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

_SCRAMBLES = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))  # of SplitMix64


def word_sums(columns: Sequence[np.ndarray], first_place: int = 0) -> np.ndarray:
    """The sums of some columns of rows, shape (X, 2), uint64. Those of other columns may be added.

    Args:
        columns: of the rows (X, ...), one at least; 32-bit numbers.
        first_place: of the first column among all of the rows.
    """
    sum_X2 = np.zeros((len(columns[0]), 2), np.uint64)
    for place, column in enumerate(columns, first_place):
        num_words = math.prod(column.shape[1:]) * column.itemsize // 4
        word_XF = np.ascontiguousarray(column).view(np.uint32).reshape(len(column), num_words)
        sum_X2 += word_XF.astype(np.uint64) @ _multipliers(place, num_words)
    return sum_X2


def scrambled(sum_X2: np.ndarray) -> np.ndarray:
    """A fingerprint of each row, given the sums of all its columns; likewise."""
    for shift, factor in _SCRAMBLES:
        sum_X2 = (sum_X2 ^ (sum_X2 >> np.uint64(shift))) * np.uint64(factor)
    return sum_X2 ^ (sum_X2 >> np.uint64(31))


@lru_cache(256)
def _multipliers(place: int, num_words: int) -> np.ndarray:
    return np.random.default_rng().integers(0, 2**64, size=(num_words, 2), dtype=np.uint64)
