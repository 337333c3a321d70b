"""The regression against scikit-learn, against refits without a row, and with rows in any order."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.linear_model import Ridge

from paaplus.errors import DivergedError
from paaplus.scoring.posterior import Posterior, RunningPosterior


def problem(num_rows: int, num_coordinates: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(num_rows)
    scaled_NK = rng.normal(size=(num_rows, num_coordinates))
    return scaled_NK, scaled_NK @ rng.normal(size=num_coordinates) + rng.normal(size=num_rows)


@pytest.mark.parametrize("num_rows", [1, 3, 4, 5, 6, 40])  # fewer rows than coordinates: the dual; more: the primal
def test_mean_is_ridge_regression(num_rows: int) -> None:
    scaled_NK, scaled_N = problem(num_rows)
    ridge = Ridge(alpha=1.0, fit_intercept=False, solver="cholesky").fit(scaled_NK, scaled_N)
    np.testing.assert_allclose(Posterior(scaled_NK, scaled_N).mean_K, ridge.coef_, rtol=1e-9)


@pytest.mark.parametrize("num_rows", [1, 3, 5, 6, 40])
def test_leave_one_out_is_a_fit_without_that_row(num_rows: int) -> None:
    scaled_NK, scaled_N = problem(num_rows)
    error_N = Posterior(scaled_NK, scaled_N).loo_error_N
    for n in range(num_rows):
        rest = np.arange(num_rows) != n
        mean_K = Posterior(scaled_NK[rest], scaled_N[rest]).mean_K
        assert error_N[n] == pytest.approx(scaled_N[n] - scaled_NK[n] @ mean_K, abs=1e-9)


@pytest.mark.parametrize("num_rows", [0, 3, 40])
def test_covariance_is_the_inverse_of_the_precision(num_rows: int) -> None:
    scaled_NK, scaled_N = problem(num_rows)
    expected_KK = np.linalg.inv(np.eye(5) + scaled_NK.T @ scaled_NK)
    np.testing.assert_allclose(Posterior(scaled_NK, scaled_N).covariance_KK, expected_KK, atol=1e-12)


def test_without_rows_it_is_the_prior() -> None:
    posterior = Posterior(np.empty((0, 3)), np.empty(0))
    np.testing.assert_array_equal(posterior.mean_K, np.zeros(3))
    np.testing.assert_array_equal(posterior.covariance_KK, np.eye(3))
    assert posterior.loo_error_N.shape == (0,)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "change", "remove"]), st.integers(0, 7)), max_size=40))
def test_running_posterior_equals_a_fit_of_the_remaining_rows(acts: list[tuple[str, int]]) -> None:
    rng = np.random.default_rng(0)
    row_IK, running = rng.normal(0, 3, (8, 6)), RunningPosterior(6)
    kept: dict[int, float] = {}
    for act, image in acts:
        if image in kept and act != "add":
            running.remove(row_IK[image], kept.pop(image))
        if image not in kept and act != "remove":
            kept[image] = float(rng.normal(0, 5))
            running.add(row_IK[image], kept[image])
    fitted = Posterior(row_IK[list(kept)], np.array(list(kept.values())))
    np.testing.assert_allclose(running.mean(), fitted.mean_K, atol=1e-6)


@pytest.mark.parametrize("num_rows", [3, 40])
def test_leading_reduction_is_exact_with_as_many_directions_as_rows(num_rows: int) -> None:
    posterior = Posterior(*problem(num_rows))
    reduction_KM = posterior.leading_reduction(np.array([4.0, 1.0, 0.3, 0.1, 0.01]), 5)
    np.testing.assert_allclose(np.eye(5) - reduction_KM @ reduction_KM.T, posterior.covariance_KK, atol=1e-9)
    np.testing.assert_allclose(posterior.variance_K, np.diag(posterior.covariance_KK), atol=1e-12)


def test_leading_reduction_keeps_the_largest_reduction_weighted_by_energy() -> None:
    row_NK = np.diag([1.0, 3.0, 0.3])  # reduce the variance by 1/2, 9/10 and little
    reduction_KM = Posterior(row_NK[:2], np.zeros(2)).leading_reduction(np.array([10.0, 1.0, 1.0]), 1)
    np.testing.assert_allclose(np.abs(reduction_KM[:, 0]), [np.sqrt(0.5), 0.0, 0.0], atol=1e-5)  # 5 against .9
    assert Posterior(row_NK[:0], np.zeros(0)).leading_reduction(np.ones(3), 2).shape == (3, 0)


@pytest.mark.parametrize("decay", [0.0, 1.0, 4.0])  # of the spectrum of images
@pytest.mark.parametrize(("num_rows", "num_coordinates", "num_directions"), [(8, 64, 7), (64, 64, 11), (100, 96, 7)])
def test_leading_reduction_is_close_to_that_of_the_first_eigenvectors(
    num_rows: int, num_coordinates: int, num_directions: int, decay: float
) -> None:
    rng = np.random.default_rng(num_rows)
    scaled_NK = rng.normal(size=(num_rows, num_coordinates)) / (np.arange(num_coordinates) + 3.0) ** (decay / 2)
    posterior, energy_K = Posterior(scaled_NK, np.zeros(num_rows)), np.square(scaled_NK).mean(0)
    reduction_KM = posterior.leading_reduction(energy_K, num_directions)
    narrowed_KK = np.eye(num_coordinates) - posterior.covariance_KK
    root_K = np.sqrt(energy_K)
    best = np.linalg.eigvalsh(root_K[:, None] * narrowed_KK * root_K)[-num_directions:].sum()
    assert np.square(root_K[:, None] * reduction_KM).sum() > 0.9 * best
    assert np.linalg.eigvalsh(narrowed_KK - reduction_KM @ reduction_KM.T).min() > -1e-9, "more than was narrowed"


def test_leading_reduction_of_one_image_rated_over_and_over() -> None:
    scaled_NK = np.tile(np.random.default_rng(0).normal(size=6), (40, 1))
    posterior = Posterior(scaled_NK, np.ones(40))
    reduction_KM = posterior.leading_reduction(np.square(scaled_NK).mean(0), 3)
    np.testing.assert_allclose(np.eye(6) - reduction_KM @ reduction_KM.T, posterior.covariance_KK, atol=1e-9)


@pytest.mark.parametrize("num_rows", [2, 6])
def test_rows_whose_squares_are_not_finite_are_an_error(num_rows: int) -> None:
    with np.errstate(all="ignore"), pytest.raises(DivergedError, match="finite"):
        _ = Posterior(np.full((num_rows, 4), 1e200), np.ones(num_rows)).mean_K
