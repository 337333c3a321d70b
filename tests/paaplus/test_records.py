"""Scales convert ratings to scores; comparisons are concatenated in order."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.records import NO_COMPARISONS, ComparedSet, Scale


@pytest.mark.parametrize(("rating", "score"), [(1, 0.0), (4, 5.0), (5.5, 7.5), (7, 10.0)])
def test_rating_becomes_a_score_between_0_and_10(rating: float, score: float) -> None:
    assert Scale(1, 7).to_score(rating) == pytest.approx(score)


@pytest.mark.parametrize(
    ("low", "high"),
    [(1, 1), (7, 1), (math.nan, 7), (1, math.nan), (-math.inf, 7), (1, math.inf), (-1.7e308, 1.7e308)],
)
def test_scale_is_refused_when_its_width_is_no_positive_finite_number(low: float, high: float) -> None:
    with pytest.raises(InvalidInput, match="finite width"):
        Scale(low, high)


@pytest.mark.parametrize(("low", "high"), [(-8.9e307, 8.9e307), (0.0, 5e-324)])
def test_score_is_finite_on_the_widest_and_the_narrowest_scale(low: float, high: float) -> None:
    assert [Scale(low, high).to_score(rating) for rating in (low, high)] == [0.0, 10.0]


@pytest.mark.parametrize("rating", [0.9, 7.1, math.nan, math.inf])
def test_rating_outside_its_scale_is_refused(rating: float) -> None:
    with pytest.raises(InvalidInput, match="outside its scale"):
        Scale(1, 7).to_score(rating)


def compared(*sequences: int) -> ComparedSet:
    rows = np.array(sequences, float)[:, None]
    return ComparedSet.of(np.array(sequences), rows, rows, -rows, -rows, np.full_like(rows, 0.5))


def test_compared_sets_are_joined_in_order_of_sequence_and_empty_ones_have_any_width() -> None:
    joined = ComparedSet.concatenate(NO_COMPARISONS, compared(5, 9), compared(2), NO_COMPARISONS)
    assert joined.sequence_C.tolist() == [2, 5, 9]
    assert joined.first_taste_CR[:, 0].tolist() == [2.0, 5.0, 9.0]
    assert joined.second_generic_CA[:, 0].tolist() == [-2.0, -5.0, -9.0]
    assert joined.weight_C.tolist() == [1.0, 1.0, 1.0]
    assert len(ComparedSet.concatenate(NO_COMPARISONS, NO_COMPARISONS)) == 0


def test_compared_sets_refuse_wrong_orders_and_lengths() -> None:
    with pytest.raises(InvalidInput, match="strictly increasing"):
        compared(3, 3)
    with pytest.raises(InvalidInput, match="arrays of one length"):
        replace(compared(1, 2), weight_C=np.ones(3, np.float32))
