"""Bootstrap intervals draw people, each with all of their values."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.evaluation.intervals import bootstrap_interval, group_by_person, mean_with_interval


def test_many_values_of_few_people_are_worth_what_the_people_are() -> None:
    means = np.random.default_rng(0).normal(size=20)
    once, often = [[mean] for mean in means], [[mean] * 50 for mean in means]
    assert bootstrap_interval(often) == pytest.approx(bootstrap_interval(once))


def test_interval_of_independent_people_is_that_of_the_mean() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    low, high = bootstrap_interval([[value] for value in values])
    half = 1.96 * values.std() / 20.0
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)


def test_values_of_one_person_are_kept_together() -> None:
    assert group_by_person([("a", 1.0), ("b", 2.0), ("a", 3.0)]) == [[1.0, 3.0], [2.0]]
    assert mean_with_interval([[1.0, 3.0], [2.0]])["mean"] == pytest.approx(2.0)
