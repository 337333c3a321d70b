"""Fisher information and score sensitivity against autograd, one row at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.func import functional_call, jacrev, vmap

from paaplus.strategies.comparisons import comparison_loss
from paaplus.strategies.datasets import FeedbackData
from paaplus.strategies.mas import score_sensitivity
from paaplus.strategies.modules import AdapterModule
from paaplus.strategies.sensitivity import gauss_newton_fisher
from tests.support.learning import base_of, comparisons, person, ratings, trained_module

BASE = base_of(2)
NOISE_SD_A = torch.tensor([0.5, 2.0])
KINDS = ["taste_vector", "bottleneck"]


def mixed(num_ratings: int = 20, num_comparisons: int = 12) -> FeedbackData:
    """Ratings and comparisons with weights, some aspects missing in both."""
    rated = ratings(BASE, person(BASE), num_ratings, missing=0.3)
    compared = comparisons(BASE, person(BASE), num_comparisons, first_sequence=100)
    preference_CA = np.where(np.random.default_rng(0).random(compared.preference_CA.shape) < 0.3, np.nan, 1.0)
    return FeedbackData.of(
        replace(rated, weight_N=np.linspace(0.5, 2.0, num_ratings).astype(np.float32)),
        "cpu",
        replace(
            compared,
            preference_CA=(preference_CA * compared.preference_CA).astype(np.float32),
            weight_C=np.linspace(0.5, 2.0, num_comparisons).astype(np.float32),
        ),
    )


def jacobians(module: AdapterModule, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """d score / d parameter, [images, aspects, ...], from torch's own differentiation."""
    parameters = {name: parameter.detach() for name, parameter in module.named_parameters()}
    return vmap(jacrev(lambda p, row: functional_call(module, p, (row[None],))[0]), (None, 0))(parameters, x)


def weighted_sum(jacobian: torch.Tensor, weight_NA: torch.Tensor) -> torch.Tensor:
    return (jacobian * weight_NA.reshape(*weight_NA.shape, *[1] * (jacobian.dim() - 2))).sum((0, 1))


def information_by_autograd(difference: float, noise_sd: float) -> float:
    """Mean over the three answers of minus the second derivative of their log likelihoods."""

    def log_likelihood(difference: torch.Tensor, preference: float) -> torch.Tensor:
        said, one = torch.tensor([[preference]], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
        return -comparison_loss(difference.reshape(1, 1), said, one, noise_sd * one) / 2

    at = torch.tensor(difference, dtype=torch.float64)
    answers = [lambda d, p=p: log_likelihood(d, p) for p in (1.0, 0.0, 0.5)]
    return sum(-(answer(at).exp() * torch.autograd.functional.hessian(answer, at)).item() for answer in answers)


@pytest.mark.parametrize("kind", KINDS)
def test_fisher_is_the_sum_of_squared_jacobians_of_ratings_and_differences(kind: str) -> None:
    module, data = trained_module(BASE, kind), mixed()
    columns, rated = data.columns, ~data.columns.is_comparison_N
    first, second = jacobians(module, columns.x_NX), jacobians(module, columns.other_NX)
    rating_NA = columns.weight_N[:, None] * ~torch.isnan(columns.target_NA) / NOISE_SD_A.square()
    difference_NA = (module(columns.x_NX) - module(columns.other_NX)).detach()
    information_NA = torch.tensor(
        [
            [information_by_autograd(float(d), float(sd)) for d, sd in zip(d_A, NOISE_SD_A, strict=True)]
            for d_A in difference_NA
        ]
    )
    compared_NA = columns.weight_N[:, None] * ~torch.isnan(columns.preference_NA) * information_NA
    actual = gauss_newton_fisher(module, data, NOISE_SD_A)
    assert set(actual) == set(first)
    for name, value in actual.items():
        expected = weighted_sum(first[name][rated].square(), rating_NA[rated])
        expected += weighted_sum((first[name] - second[name])[~rated].square(), compared_NA[~rated])
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
        assert value.abs().sum() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_sensitivity_is_the_sum_of_absolute_jacobians_of_all_images(kind: str) -> None:
    module, data = trained_module(BASE, kind), mixed()
    columns, rated = data.columns, ~data.columns.is_comparison_N
    said_NA = torch.where(rated[:, None], ~torch.isnan(columns.target_NA), ~torch.isnan(columns.preference_NA))
    weight_NA = columns.weight_N[:, None] * said_NA / NOISE_SD_A
    first, second = jacobians(module, columns.x_NX), jacobians(module, columns.other_NX)
    for name, value in score_sensitivity(module, data, NOISE_SD_A).items():
        expected = weighted_sum(first[name].abs(), weight_NA)
        expected += weighted_sum(second[name][~rated].abs(), weight_NA[~rated])
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
        assert value.sum() > 0


def test_fisher_leaves_no_hooks_and_no_gradients() -> None:
    module = trained_module(BASE, "bottleneck")
    gauss_newton_fisher(module, mixed(), NOISE_SD_A)
    assert all(parameter.grad is None for parameter in module.parameters())
    assert not any(layer._forward_hooks for layer in module.modules())


def test_comparing_an_image_with_itself_says_nothing() -> None:
    compared = comparisons(BASE, person(BASE), 5)
    same = replace(compared, second_taste_CR=compared.first_taste_CR, second_generic_CA=compared.first_generic_CA)
    data = FeedbackData.of(ratings(BASE, person(BASE), 0), "cpu", same)
    for value in gauss_newton_fisher(trained_module(BASE, "bottleneck"), data, NOISE_SD_A).values():
        assert (value >= 0).all()
        assert value.max() < 1e-4
