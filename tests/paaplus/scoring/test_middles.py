"""The middle of a person who likes and dislikes: learned under its prior, and where likes are trained against it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from paaplus.records import DISLIKED, LIKED, PREFERS_FIRST, ComparedSet, RatedSet
from paaplus.scoring import middles
from paaplus.scoring.comparisons import LIKE_TEMPERATURE_PER_NOISE_SD, log_likelihood, slope_and_curvature
from paaplus.scoring.priors import SCORE_CENTER, OwnPrior
from tests.support.learning import base_of, comparisons, likes, none_of, person, ratings

BASE = base_of(1)
TASTE = person(BASE, 1)
NOTHING = none_of(ratings(BASE, TASTE, 1))


def estimate(rated: RatedSet, compared: ComparedSet) -> float:
    return float(middles.estimate(OwnPrior(BASE), rated, compared)[0])


@pytest.mark.parametrize("middle", [3.5, 5.0, 6.5])
def test_middle_is_found(middle: float) -> None:
    assert estimate(NOTHING, likes(BASE, TASTE, 200, middle=middle)) == pytest.approx(middle, abs=0.6)


def test_who_likes_everything_has_a_low_middle_that_the_prior_bounds() -> None:
    assert SCORE_CENTER - 3 * middles.MIDDLE_SD < estimate(NOTHING, likes(BASE, TASTE, 60, middle=-20.0)) < 4.0
    assert estimate(NOTHING, likes(BASE, TASTE, 60, middle=20.0)) > 6.0


def test_without_likes_the_middle_is_that_of_the_scale() -> None:
    compared = comparisons(BASE, TASTE, 20)
    assert estimate(NOTHING, compared) == SCORE_CENTER
    assert middles.placed(compared, np.array([3.0])) is compared


def test_only_the_made_up_images_of_likes_are_placed() -> None:
    liked, compared = likes(BASE, TASTE, 5, first_sequence=11), comparisons(BASE, TASTE, 5)
    both = middles.placed(ComparedSet.concatenate(liked, compared), np.array([6.25]))
    assert both.second_generic_CA[5:].tolist() == [[6.25]] * 5
    assert not both.second_taste_CR[5:].any()
    np.testing.assert_array_equal(both.second_taste_CR[:5], compared.second_taste_CR)
    np.testing.assert_array_equal(both.first_taste_CR[5:], liked.first_taste_CR)


def test_ratings_help_to_find_the_middle() -> None:
    few = likes(BASE, TASTE, 40, middle=6.5, first_sequence=200)
    errors = [abs(estimate(rated, few) - 6.5) for rated in (NOTHING, ratings(BASE, TASTE, 100))]
    assert errors[1] <= errors[0] + 0.05


@pytest.mark.parametrize("height", [-1.5, 1.5])
def test_how_high_a_person_rates_says_nothing_about_the_middle(height: float) -> None:
    """The made-up image of a like moves with the person's offset."""
    rated, liked = ratings(BASE, TASTE, 100, missing=0.0), likes(BASE, TASTE, 100, first_sequence=200)
    higher = replace(rated, target_NA=rated.target_NA + np.float32(height))
    assert estimate(higher, liked) == pytest.approx(estimate(rated, liked), abs=2e-3)


def test_likelihood_of_likes_is_that_of_a_threshold_with_logistic_noise() -> None:
    noise_sd, above = 1.4, 0.9
    odds = math.exp(above / (noise_sd * math.sqrt(3.0) / math.pi))
    answers = np.array([[LIKED], [DISLIKED]])
    shares = np.exp(log_likelihood(np.full((2, 1), above), answers, np.array([noise_sd])))
    assert LIKE_TEMPERATURE_PER_NOISE_SD == pytest.approx(math.sqrt(3.0) / math.pi)
    assert shares[:, 0].tolist() == pytest.approx([odds / (1.0 + odds), 1.0 / (1.0 + odds)])


@pytest.mark.parametrize("answer", [LIKED, DISLIKED])
def test_slope_and_curvature_of_likes_are_the_derivatives(answer: float) -> None:
    noise_sd, at, step = np.array([1.7]), 0.6, 1e-4
    answers = np.array([[answer], [answer], [answer], [PREFERS_FIRST]])
    low, middle, high = log_likelihood(np.array([[at - step], [at], [at + step], [at]]), answers, noise_sd)[:3, 0]
    slope_CA, curvature_CA = slope_and_curvature(np.full((4, 1), at), answers, noise_sd)
    assert slope_CA[0, 0] == pytest.approx((high - low) / (2 * step), rel=1e-6)
    assert curvature_CA[0, 0] == pytest.approx(-(high - 2 * middle + low) / step**2, rel=1e-4)
