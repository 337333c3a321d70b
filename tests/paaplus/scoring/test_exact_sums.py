"""Sums that are exact: the same bytes in any order and after any changes, beside sums of whole numbers in Python."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paaplus.scoring import exact_sums
from paaplus.scoring.exact_sums import GRID_BITS, LOW_BITS, ExactSums

numbers = st.floats(-200.0, 200.0) | st.floats(-1e-6, 1e-6)
rows_of_3 = arrays(np.float64, st.tuples(st.integers(0, 12), st.just(3)), elements=numbers)


def exactly(row_NQ: np.ndarray) -> np.ndarray:
    """By Python's whole numbers, on the same grid."""
    on_grid = [[round(Fraction(x) * 2**GRID_BITS) for x in row] for row in row_NQ.tolist()]
    sums = [[sum(row[p] * row[q] for row in on_grid) for q in range(3)] for p in range(3)]
    return np.array([[float(Fraction(each, 4**GRID_BITS)) for each in line] for line in sums])


@settings(max_examples=60, deadline=None)
@given(rows_of_3)
def test_sums_are_those_of_whole_numbers(row_NQ: np.ndarray) -> None:
    sums = ExactSums.of(row_NQ)
    assert sums is not None
    np.testing.assert_allclose(sums.gram(), exactly(row_NQ), rtol=5e-16, atol=0)


@settings(max_examples=60, deadline=None)
@given(rows_of_3, rows_of_3, rows_of_3, st.randoms(use_true_random=False))
def test_any_order_and_any_changes_give_the_same_bytes(
    kept: np.ndarray, gone: np.ndarray, new: np.ndarray, random: object
) -> None:
    before = ExactSums.of(np.concatenate([gone, kept]))
    assert before is not None
    changed = before.changed(gone, new)
    everything = np.concatenate([kept, new])
    order = list(range(len(everything)))
    random.shuffle(order)  # type: ignore[attr-defined]
    anew = ExactSums.of(everything[order])
    assert changed is not None
    assert anew is not None
    assert changed.sum_HH.tobytes() == anew.sum_HH.tobytes()
    assert changed.gram().tobytes() == anew.gram().tobytes()


def test_many_rows_are_summed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    row_NQ = np.random.default_rng(0).normal(size=(50, 4))
    at_once = ExactSums.of(row_NQ)
    monkeypatch.setattr(exact_sums, "_TOGETHER", 7)
    in_parts = ExactSums.of(row_NQ)
    assert at_once is not None
    assert in_parts is not None
    assert at_once.sum_HH.tobytes() == in_parts.sum_HH.tobytes()


@pytest.mark.parametrize("row", [[1e8, 1.0], [np.nan, 1.0], [np.inf, 1.0]])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_may_be_rounded_has_no_exact_sums(row: list[float]) -> None:
    assert ExactSums.of(np.array([row])) is None
    sums = ExactSums.of(np.ones((3, 2)))
    assert sums is not None
    assert sums.changed(np.empty((0, 2)), np.array([row])) is None


def test_too_many_rows_have_none_before_any_sum_is_rounded() -> None:
    """The largest sum of squares is told, also where the sums themselves have been rounded already."""
    row_NQ = np.full((8, 1), 300.0)
    num_exact = next(num for num in range(1, 100) if ExactSums.of(np.tile(row_NQ, (num, 1))) is None) - 1
    half = round(300.0 * 2.0 ** (GRID_BITS - LOW_BITS))
    assert 8 * num_exact * half**2 <= 2**52 < 8 * (num_exact + 1) * half**2
    known = ExactSums.of(np.tile(row_NQ, (num_exact, 1)))
    assert known is not None
    assert known.changed(row_NQ[:0], row_NQ) is None
    assert known.changed(row_NQ[:2], row_NQ[:2]) is not None
