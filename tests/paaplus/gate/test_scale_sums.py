"""Sums over scales beside those over all scales, worked out in full."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from paaplus.gate import scale_sums
from paaplus.gate.scale_sums import log_sums

SCALE_S = np.exp(scale_sums._LOG_SCALE_S)


def in_full(curve: float, slope: float, num: float) -> float:
    return float(logsumexp(-0.5 * curve / SCALE_S**2 + slope / SCALE_S - (num - 1.0) * np.log(SCALE_S)))


def test_sums_are_those_over_all_scales() -> None:
    rng = np.random.default_rng(0)
    num_X = rng.choice([2.0, 3.0, 10.0, 30.0, 80.0, 500.0, 10_000.0], size=3_000)
    sd_X = np.exp(rng.uniform(np.log(0.001), np.log(100.0), size=3_000))  # of ratings: also beyond all scales
    curve_X = num_X * np.square(sd_X)
    slope_X = rng.normal(size=3_000) * num_X * sd_X
    expected_X = np.array([in_full(*each) for each in zip(curve_X, slope_X, num_X, strict=True)])
    np.testing.assert_allclose(log_sums(curve_X, slope_X, num_X), expected_X, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("curve", [0.0, 1e-13, -1e-13], ids=["alike", "rounding above", "rounding below"])
@pytest.mark.parametrize("slope", [0.0, 1e-13, -1e-13, -3.0])
def test_ratings_that_are_all_alike_have_their_sum_too(curve: float, slope: float) -> None:
    num_X = np.array([2.0, 10.0, 400.0])
    expected_X = [in_full(curve, slope, num) for num in num_X]
    np.testing.assert_allclose(log_sums(np.full(3, curve), np.full(3, slope), num_X), expected_X, rtol=1e-12)


def test_numbers_that_are_none_change_no_other_sum() -> None:
    curve_X, slope_X, num_X = np.array([40.0, np.nan, 90.0]), np.array([1.0, 2.0, np.nan]), np.array([10.0, 10.0, 12.0])
    found_X = log_sums(curve_X, slope_X, num_X)
    assert found_X[0] == pytest.approx(in_full(40.0, 1.0, 10.0), abs=1e-12)
    assert np.isnan(found_X[1:]).all()
