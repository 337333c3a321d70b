from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal

from paaplus.models import people_prior
from paaplus.models.people_prior import Person, fit_people_prior, variance_components


def draw_people(num_people, num_ratings, taste_dim=6, direction_sd=(0.8,) * 6, noise_sd=1.2, seed=0):
    """People whose weights have the given sd per direction; offsets of sd 1, slopes of sd 0.3."""
    rng = np.random.default_rng(seed)
    people = []
    for _ in range(num_people):
        taste = rng.normal(size=(num_ratings, taste_dim))
        crowd = rng.normal(5, 1.5, num_ratings)
        own = taste @ (rng.normal(size=taste_dim) * direction_sd)
        offsets = rng.normal(0, 1.0) + rng.normal(0, 0.3) * (crowd - 5)
        people.append(Person(taste, crowd, own + offsets + rng.normal(0, noise_sd, num_ratings)))
    return people


def components(rng, num_people=3, size=5):
    shared = [rng.normal(size=(size, 3)) for _ in range(num_people)]
    return np.stack([np.stack([x @ x.T for x in shared]), np.stack([np.eye(size)] * num_people)])


def test_variances_are_the_most_likely_ones_under_their_rule_of_thumb():
    rng = np.random.default_rng(0)
    component = components(rng)
    residual = rng.normal(size=(3, 5)) * 2
    found = variance_components(component, residual, np.full(3, 5))
    mean_square = np.mean(residual**2)
    start = np.log(0.5 * mean_square / np.array([np.einsum("unn->", c) / 15 for c in component]))

    def minus_log_posterior(log_variance):
        covariance = np.einsum("j,junm->unm", np.exp(log_variance), component)
        likelihood = sum(multivariate_normal(cov=c).logpdf(r) for c, r in zip(covariance, residual, strict=True))
        return -likelihood + 0.5 * np.sum((log_variance - start) ** 2) / people_prior._PRIOR_LOG_SD**2

    gradient = approx_fprime(np.log(found), minus_log_posterior, 1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-2)


def test_padding_changes_nothing():
    rng = np.random.default_rng(0)
    component, residual = components(rng), rng.normal(size=(3, 5))
    padded = np.zeros((2, 3, 8, 8))
    padded[:, :, :5, :5] = component
    longer = np.zeros((3, 8))
    longer[:, :5] = residual
    expected = variance_components(component, residual, np.full(3, 5))
    np.testing.assert_allclose(variance_components(padded, longer, np.full(3, 5)), expected, rtol=1e-6)


@pytest.mark.slow
def test_true_variances_are_found_when_people_differ_alike_in_all_directions():
    prior = fit_people_prior(draw_people(48, 60))
    assert np.trace(prior.weight_covariance_RR) / 6 == pytest.approx(0.64, rel=0.3)
    assert prior.noise_variance == pytest.approx(1.44, rel=0.15)
    assert prior.offset_variance == pytest.approx(1.0, rel=0.6)
    assert prior.slope_variance == pytest.approx(0.09, rel=0.6)


@pytest.mark.slow
def test_directions_in_which_people_differ_are_found():
    sds = (1.2, 0.6, 0.0, 0.0, 0.0, 0.0)
    prior = fit_people_prior(draw_people(60, 60, direction_sd=sds))
    variance = np.diag(prior.weight_covariance_RR)
    assert variance[0] == pytest.approx(1.44, rel=0.5)
    assert variance[1] == pytest.approx(0.36, rel=0.5)
    assert variance[2:].max() < 0.08


def test_directions_are_all_alike_when_people_are_few():
    prior = fit_people_prior(draw_people(12, 40, direction_sd=(1.2, 0, 0, 0, 0, 0)))
    covariance = prior.weight_covariance_RR
    np.testing.assert_array_equal(covariance, covariance[0, 0] * np.eye(6))


def test_prior_does_not_flatter_itself_when_people_differ_by_noise_only():
    prior = fit_people_prior(draw_people(60, 40, direction_sd=(0.0,) * 6))
    assert np.trace(prior.weight_covariance_RR) < 0.1
    assert prior.noise_variance == pytest.approx(1.44, rel=0.15)


def test_one_person_with_one_rating_gives_finite_numbers():
    prior = fit_people_prior(draw_people(1, 1))
    assert np.isfinite(prior.weight_covariance_RR).all()
    assert min(prior.noise_variance, prior.offset_variance, prior.slope_variance) > 0


@pytest.mark.slow
def test_same_people_give_the_same_prior():
    people = draw_people(30, 120)
    first, second = fit_people_prior(people, seed=3), fit_people_prior(people, seed=3)
    np.testing.assert_array_equal(first.weight_covariance_RR, second.weight_covariance_RR)
