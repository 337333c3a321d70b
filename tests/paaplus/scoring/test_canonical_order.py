"""Rows in an order of their content: whatever order they come in, they end in the same one."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring import canonical_order
from tests.support.learning import base_of, comparisons, likes, person, ratings

BASE = base_of(2)
TASTE = person(BASE, 5)
RATED = ratings(BASE, TASTE, 40)
COMPARED = ComparedSet.concatenate(comparisons(BASE, TASTE, 30), likes(BASE, TASTE, 10, first_sequence=100))


def shuffled(rows: RatedSet | ComparedSet, seed: int) -> RatedSet | ComparedSet:
    """The same rows, as if they had arrived in another order at other times."""
    order_X = np.random.default_rng(seed).permutation(len(rows))
    columns = {field.name: getattr(rows, field.name)[order_X] for field in fields(rows)}
    letter = "N" if isinstance(rows, RatedSet) else "C"
    numbers_X = np.arange(1, len(rows) + 1)
    return type(rows)(**columns | {f"sequence_{letter}": numbers_X, f"answered_at_{letter}": numbers_X})


@pytest.mark.parametrize(
    ("rows", "order"),
    [(RATED, canonical_order.order_of_ratings), (COMPARED, canonical_order.order_of_comparisons)],
    ids=["ratings", "comparisons and likes"],
)
def test_rows_end_in_one_order_whatever_order_they_come_in(rows, order) -> None:
    first, *others = (
        canonical_order.in_order(each, order(each)) for each in (shuffled(rows, seed) for seed in range(3))
    )
    content = [field.name for field in fields(rows) if not field.name.startswith("answered_at")]
    for other in others:
        for name in content:
            np.testing.assert_array_equal(getattr(first, name), getattr(other, name), err_msg=name)
