from __future__ import annotations

import numpy as np
import pytest

from paaplus.demo.statistics import agreement, mean_interval
from paaplus.errors import UndefinedMetric


def of(**values: float) -> dict[str, dict[str, float]]:
    return {image: {"beauty": value} for image, value in values.items()}


def test_agreement_is_the_rank_correlation_over_the_asked_images():
    scores, ratings = of(a=1.0, b=2.0, c=3.0, d=9.0), of(a=2, b=1, c=3, d=0)
    # ranks 1 2 3 against 2 1 3: 1 - 6 * (1 + 1 + 0) / (3 * 8)
    assert agreement(scores, ratings, ["a", "b", "c"]) == pytest.approx(0.5)


def test_agreement_is_the_mean_over_aspects_each_where_it_was_rated():
    scores = {"a": {"x": 1, "y": 1}, "b": {"x": 2, "y": 2}, "c": {"x": 3, "y": 3}}
    ratings = {"a": {"x": 1, "y": 5}, "b": {"x": 2}, "c": {"x": 3, "y": 2}}
    assert agreement(scores, ratings, ["a", "b", "c"]) == pytest.approx((1 - 1) / 2)


def test_agreement_with_a_missing_score_or_a_constant_is_an_error():
    with pytest.raises(KeyError):
        agreement(of(a=1.0), of(a=1, b=2), ["a", "b"])
    with pytest.raises(UndefinedMetric):
        agreement(of(a=1.0, b=1.0), of(a=1, b=2), ["a", "b"])


def test_the_interval_is_that_of_the_normal_theory_for_many_people():
    gains = np.random.default_rng(0).normal(0.05, 0.1, 400)
    low, high = mean_interval(gains.tolist())
    half = 1.96 * gains.std() / 20
    assert low == pytest.approx(gains.mean() - half, abs=0.001)
    assert high == pytest.approx(gains.mean() + half, abs=0.001)
    assert mean_interval(gains.tolist()) == (low, high)


def test_the_interval_of_equal_gains_is_that_gain():
    assert mean_interval([0.25] * 12) == (0.25, 0.25)
