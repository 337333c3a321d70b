"""The closed form with comparisons is the mode that a general optimiser finds, and its curvature."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from paaplus.strategies.comparisons import comparison_loss
from paaplus.strategies.laplace import working_rows

NOISE_SD = 1.3


def problem(num_ratings: int, num_comparisons: int, seed: int = 0, strength: float = 1.0):
    """Rows of regressors with a standard normal prior, ratings of some, comparisons of others, uneven weights."""
    rng = np.random.default_rng(seed)
    weight_K = strength * rng.normal(size=6)
    rated_NK, compared_CK = rng.normal(size=(num_ratings, 6)), rng.normal(size=(num_comparisons, 6))
    target_N = rated_NK @ weight_K + NOISE_SD * rng.normal(size=num_ratings)
    preference_C = rng.choice([0.0, 0.5, 1.0], num_comparisons)
    clear_C = np.abs(compared_CK @ weight_K) > 1
    preference_C[clear_C] = (compared_CK @ weight_K > 0)[clear_C]
    return rated_NK, target_N, compared_CK, preference_C, rng.uniform(0.3, 2.0, num_comparisons)


def fit(rated_NK, target_N, compared_CK, target_C, noise_sd_C):
    """Posterior mean and precision of ratings and working rows."""
    rows = np.concatenate([rated_NK / NOISE_SD, compared_CK / noise_sd_C[:, None]])
    targets = np.concatenate([target_N / NOISE_SD, target_C / noise_sd_C])
    precision_KK = np.eye(rows.shape[1]) + rows.T @ rows
    return np.linalg.solve(precision_KK, rows.T @ targets), precision_KK


def mode(rated_NK, target_N, compared_CK, preference_C, weight_C):
    target_C, noise_sd_C = working_rows(
        lambda t_C, s_C: compared_CK @ fit(rated_NK, target_N, compared_CK, t_C, s_C)[0],
        preference_C,
        weight_C,
        NOISE_SD,
    )
    return fit(rated_NK, target_N, compared_CK, target_C, noise_sd_C)


def log_posterior(rated_NK, target_N, compared_CK, preference_C, weight_C):
    """Minus the log posterior density up to a constant, as a function of the weights."""
    numbers = [torch.from_numpy(each) for each in (rated_NK, target_N, compared_CK, preference_C, weight_C)]
    rated, target, compared, preference, weight = numbers

    def loss(weight_K: torch.Tensor) -> torch.Tensor:
        ratings = ((rated @ weight_K - target) / NOISE_SD).square().sum()
        noise_sd_A = torch.full((1,), NOISE_SD, dtype=torch.float64)
        comparisons = comparison_loss((compared @ weight_K)[:, None], preference[:, None], weight, noise_sd_A)
        return (ratings + comparisons + weight_K.square().sum()) / 2

    return loss


@pytest.mark.parametrize(("num_ratings", "num_comparisons"), [(0, 1), (0, 40), (20, 30), (5, 3), (10, 0)])
@pytest.mark.parametrize("strength", [0.2, 1.0, 30.0])
def test_the_fit_is_the_mode_and_its_precision_the_curvature_there(
    num_ratings: int, num_comparisons: int, strength: float
) -> None:
    data = problem(num_ratings, num_comparisons, strength=strength)
    mean_K, precision_KK = mode(*data)
    loss = log_posterior(*data)

    def value_and_gradient(weight_K: np.ndarray) -> tuple[float, np.ndarray]:
        at = torch.tensor(weight_K, requires_grad=True)
        value = loss(at)
        value.backward()
        return value.item(), at.grad.numpy()

    found = minimize(value_and_gradient, np.zeros(6), jac=True, method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(mean_K, found.x, atol=1e-5 * max(1.0, strength))
    curvature_KK = torch.autograd.functional.hessian(loss, torch.from_numpy(mean_K)).numpy()
    np.testing.assert_allclose(precision_KK, curvature_KK, rtol=1e-6, atol=1e-8)


def test_the_same_comparisons_give_the_same_bits() -> None:
    data = problem(10, 20)
    assert mode(*data)[0].tobytes() == mode(*data)[0].tobytes()


def test_answers_that_contradict_everything_are_borne() -> None:
    rated_NK, target_N, compared_CK, _, weight_C = problem(200, 5, strength=100.0)
    truth_K = np.linalg.lstsq(rated_NK, target_N, rcond=None)[0]
    wrong_C = (compared_CK @ truth_K < 0).astype(float)
    mean_K, _ = mode(rated_NK, target_N, compared_CK, wrong_C, weight_C)
    assert np.isfinite(mean_K).all()
    assert np.abs(mean_K - truth_K).max() < 0.1 * np.abs(truth_K).max()
