"""A scale turns every rating on it into a score, or is refused."""

from __future__ import annotations

import math

import pytest

from paaplus.errors import InvalidInput
from paaplus.records import Scale


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
