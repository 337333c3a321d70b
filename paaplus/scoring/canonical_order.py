"""Feedback in an order of its content: sums over it then do not depend on how it arrived. NumPy only.

Shape letters: N = ratings, C = comparisons, X = either.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TypeVar

import numpy as np

from paaplus.records import ComparedSet, RatedSet

_NUM_TOLD_APART = 4  # taste dimensions: enough to tell images apart
Rows = TypeVar("Rows", RatedSet, ComparedSet)


def order_of_ratings(rated: RatedSet) -> np.ndarray:
    """Positions of the ratings in order of their content, shape (N,).

    Neither the sequence nor the time is part of it: both say how the feedback arrived.
    """
    content = [rated.weight_N, *rated.target_NA.T, *rated.generic_NA.T, *rated.taste_NR.T[:_NUM_TOLD_APART]]
    return np.lexsort(content)


def order_of_comparisons(compared: ComparedSet) -> np.ndarray:
    """The same of comparisons and likes, shape (C,)."""
    images = [*compared.first_generic_CA.T, *compared.second_generic_CA.T]
    images += [*compared.first_taste_CR.T[:_NUM_TOLD_APART], *compared.second_taste_CR.T[:_NUM_TOLD_APART]]
    return np.lexsort((compared.weight_C, *compared.preference_CA.T, *images))


def in_order(rows: Rows, order_X: np.ndarray) -> Rows:
    """The rows in this order, numbered anew."""
    sequence = "sequence_N" if isinstance(rows, RatedSet) else "sequence_C"
    columns = {field.name: getattr(rows, field.name)[order_X] for field in fields(rows)}
    return type(rows)(**columns | {sequence: np.arange(1, len(order_X) + 1)})
