"""Confidence, compared with the posterior computed by matrix inversion."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.configs import TrainingConfig
from paaplus.scoring.priors import OwnPrior, design
from paaplus.services.predictions.confidence import confidences
from paaplus.training import train
from tests.support.learning import base_of, first_request, person, ratings


def test_without_an_adapter_it_is_as_wide_as_people_differ() -> None:
    base = base_of(2)
    images = ratings(base, person(base), 4)
    found = confidences(base, None, None, images.taste_NR, images.generic_NA)
    assert found is not None
    design_NP = design(images.taste_NR, images.generic_NA[:, 1])
    prior_sd_P = np.array([base.offset_sd_A[1], base.slope_sd_A[1], *[base.prior_sd_A[1]] * base.taste_dim])
    expected_N = np.square(design_NP * prior_sd_P).sum(1)
    np.testing.assert_allclose([one.score_sd["aspect1"] for one in found], np.sqrt(expected_N), rtol=1e-5)
    expected_N += float(base.noise_sd_A[1]) ** 2
    np.testing.assert_allclose([one.rating_sd["aspect1"] for one in found], np.sqrt(expected_N), rtol=1e-5)


def test_ratings_make_it_surer_most_of_all_about_images_like_those_rated() -> None:
    base = base_of(1)
    rated, other = ratings(base, person(base), 30), ratings(base, person(base), 30, first_sequence=100)
    adapter = train(first_request("bayes", "taste_vector", base, rated)).adapter

    def mean_sd(known: object, images: object) -> float:
        found = confidences(base, known, None, images.taste_NR, images.generic_NA)
        return float(np.mean([one.score_sd["aspect0"] for one in found]))

    assert mean_sd(adapter, rated) < mean_sd(adapter, other) < 0.5 * mean_sd(None, other)


def test_an_adapter_that_cannot_tell_says_nothing() -> None:
    base = base_of(1)
    rated = ratings(base, person(base), 10)
    adapter = train(first_request("naive", "bottleneck", base, rated)).adapter
    assert confidences(base, adapter, None, rated.taste_NR, rated.generic_NA) is None


@pytest.mark.slow
def test_a_taste_vector_trained_in_steps_can_tell_as_the_closed_form_can() -> None:
    base = base_of(1)
    rated = ratings(base, person(base), 30)
    config = TrainingConfig(num_steps=300, batch_size=64, learning_rate=0.1)
    steps, exact = (
        confidences(base, train(request).adapter, None, rated.taste_NR, rated.generic_NA)
        for request in (
            first_request("replay_ewc", "taste_vector", base, rated, config),
            first_request("bayes", "taste_vector", base, rated),
        )
    )
    found, expected = ([one.score_sd["aspect0"] for one in each] for each in (steps, exact))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_an_images_confidence_does_not_depend_on_its_batch() -> None:
    base = base_of(1)
    rated = ratings(base, person(base), 12)
    adapter = train(first_request("bayes", "taste_vector", base, rated)).adapter
    together = confidences(base, adapter, None, rated.taste_NR, rated.generic_NA)
    alone = [
        confidences(base, adapter, None, rated.taste_NR[n : n + 1], rated.generic_NA[n : n + 1])[0] for n in range(12)
    ]
    assert together == alone
    assert OwnPrior(base).num_coordinates == base.taste_dim + 2
