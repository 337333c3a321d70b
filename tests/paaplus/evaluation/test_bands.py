"""Errors where ratings are rare: bands by hand, empty bands, and every study's document has them."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.evaluation.bands import BANDS, Bands, band_errors, rare_themes, rows
from paaplus.evaluation.train_side import EvaluationData


def test_bands_by_hand() -> None:
    rating_N = np.array([0.0, 4.0, 5.0, 5.0, 6.0, 10.0])
    score_N = np.array([3.0, 4.0, 5.0, 6.0, 6.0, 8.0])
    errors = band_errors(score_N, rating_N, ["a", "a", "a", None, "b", "a"], {"b"})
    # the 20th percentile is 4, the 80th 6
    assert errors == {
        "rare_low": 1.5,
        "middle": 0.5,
        "rare_high": 1.0,
        "frequent_themes": pytest.approx(5 / 4),
        "rare_themes": 0.0,
    }


def test_fixed_cuts() -> None:
    errors = band_errors(np.array([5.0, 5.0, 5.0]), np.array([4.0, 5.0, 7.0]), cuts=(4.795, 5.988))
    assert [errors[band] for band in BANDS] == [1.0, 0.0, 2.0, None, None]


def test_empty_bands_are_none() -> None:
    errors = band_errors(np.array([5.0, 6.0]), np.array([5.0, 5.0]))
    assert errors == {"rare_low": None, "middle": 0.5, "rare_high": None, "frequent_themes": None, "rare_themes": None}
    assert all(value is None for value in band_errors(np.empty(0), np.empty(0)).values())


def test_a_theme_is_rare_below_a_fifth_of_the_most_frequent() -> None:
    assert rare_themes({"a": 100, "b": 20, "c": 19}) == {"c"}
    assert rare_themes({}) == frozenset()


def test_means_are_over_people_not_over_ratings(data: EvaluationData) -> None:
    bands = Bands(data.folder)
    bands.add("one", "u1", np.array([[2.0], [5.0], [8.0]]), np.array([[1.0], [5.0], [9.0]]), [0, 1, 2])
    bands.add("one", "u1", np.array([[4.0], [5.0], [8.0]]), np.array([[1.0], [5.0], [9.0]]), [0, 1, 2])
    bands.add("one", "u2", np.array([[1.0], [np.nan], [9.0]]), np.array([[1.0], [np.nan], [9.0]]), [3, 4, 5])
    summary = bands.summary()["one"]
    assert summary["rare_low"] == pytest.approx((2.0 + 0.0) / 2)
    assert summary["rare_high"] == pytest.approx((1.0 + 0.0) / 2)
    assert summary["middle"] == 0.0  # of the only person who has one
    assert rows({"bands": bands.summary()})[0][:3] == ("one", "1.000", "0.000")
    assert rows({}) == []
