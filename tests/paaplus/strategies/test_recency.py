"""Recency weights by hand, and that importances fade like the feedback they saw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paaplus.strategies.base import TrainingRequest
from paaplus.strategies.recency import aged, ageing
from paaplus.training import train
from tests.support.learning import SMALL, base_of, comparisons, first_request, next_request, person, ratings

BASE = base_of(1)
FADING = replace(SMALL, recency_half_life=4.0)


def request(num_past: int = 6, num_new: int = 2, half_life: float = 4.0) -> TrainingRequest:
    past = ratings(BASE, person(BASE), num_past, missing=0.0)
    new = ratings(BASE, person(BASE), num_new, first_sequence=20, missing=0.0)
    config = replace(SMALL, recency_half_life=half_life)
    return replace(first_request("naive", "taste_vector", BASE, new, config), past=past)


def test_a_weight_halves_with_every_half_life_of_later_feedback() -> None:
    found = aged(request())
    assert found.new.weight_N.tolist() == pytest.approx([0.5**0.25, 1.0])
    assert found.past.weight_N.tolist() == pytest.approx([0.5 ** (n / 4) for n in (7, 6, 5, 4, 3, 2)])


def test_comparisons_and_ratings_age_each_other() -> None:
    compared = comparisons(BASE, person(BASE), 4, first_sequence=10)  # between past and new
    found = aged(replace(request(), past_compared=compared))
    assert found.past.weight_N[0] == pytest.approx(0.5 ** (11 / 4))
    assert found.past_compared.weight_C.tolist() == pytest.approx([0.5 ** (n / 4) for n in (5, 4, 3, 2)])


def test_given_weights_are_scaled_not_replaced() -> None:
    given = request()
    heavy = replace(given, past=replace(given.past, weight_N=np.full(6, 3.0, np.float32)))
    np.testing.assert_allclose(aged(heavy).past.weight_N, 3 * aged(given).past.weight_N, rtol=1e-6)


def test_without_a_half_life_nothing_ages() -> None:
    steady = request(half_life=0.0)
    assert aged(steady) is steady
    assert ageing(steady) == 1.0


def test_earlier_weights_shrink_by_the_ageing_of_every_increment() -> None:
    first = request(num_past=0, num_new=6)
    second = replace(
        request(num_new=3), past=replace(first.new, sequence_N=np.arange(1, 7), answered_at_N=np.arange(1, 7))
    )
    shrunk = aged(first).new.weight_N * ageing(second)
    np.testing.assert_allclose(aged(second).past.weight_N, shrunk, rtol=1e-6)


@pytest.mark.parametrize("strategy", ["bayes", "replay", "cumulative"])
@pytest.mark.slow
def test_a_changed_mind_is_followed_faster_with_a_half_life(strategy: str) -> None:
    before, after = ratings(BASE, person(BASE), 30), ratings(BASE, -person(BASE), 12, first_sequence=40)
    unseen = ratings(BASE, -person(BASE), 100, seed=3, noise=0.0, missing=0.0)
    errors = []
    for config in (replace(SMALL, num_steps=60), replace(FADING, num_steps=60)):
        first = first_request(strategy, "taste_vector", BASE, before, config)
        trained = train(next_request(first, train(first), after))
        score_NA = trained.adapter.score(unseen.taste_NR, unseen.generic_NA)
        errors.append(float(np.mean((score_NA - unseen.target_NA) ** 2)))
    assert errors[1] < 0.8 * errors[0]
