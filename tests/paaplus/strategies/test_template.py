"""The loss by hand, missing aspects, and where the steps lead."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from paaplus.configs import TrainingConfig
from paaplus.strategies.modules import build_module
from paaplus.strategies.template import masked_loss
from paaplus.training import train
from tests.support.learning import base_of, first_request, next_request, person, ratings


def test_loss_is_that_worked_out_by_hand() -> None:
    score_BA = torch.tensor([[5.0, 6.0], [4.0, 4.0]])
    target_BA = torch.tensor([[7.0, math.nan], [4.0, 1.0]])
    weight_B, noise_sd_A = torch.tensor([1.0, 0.5]), torch.tensor([2.0, 1.0])
    # row 0: (2 / 2)^2 = 1; row 1: half of 0 + 3^2 = 4.5; mean of the two rows
    assert masked_loss(score_BA, target_BA, weight_B, noise_sd_A).item() == pytest.approx((1.0 + 4.5) / 2)


def test_a_missing_aspect_gives_no_gradient() -> None:
    base = base_of(2)
    module = build_module("bottleneck", base, rank=4, parent=None)
    target_BA = torch.tensor([[6.0, math.nan], [2.0, math.nan]])
    x = torch.cat([torch.full((2, 2), 5.0), torch.ones(2, base.taste_dim)], dim=1)
    masked_loss(module(x), target_BA, torch.ones(2), torch.ones(2)).backward()
    for parameter in (module.offset.weight, module.up.weight):
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad[0].abs().sum() > 0
        assert parameter.grad[1].abs().sum() == 0


def test_rows_without_any_rated_aspect_give_no_gradient() -> None:
    score_BA = torch.ones(3, 2, requires_grad=True)
    masked_loss(score_BA, torch.full((3, 2), math.nan), torch.ones(3), torch.ones(2)).backward()
    assert score_BA.grad.abs().sum() == 0


LONG = TrainingConfig(num_steps=800, batch_size=64, replay_batch_size=64, learning_rate=0.1)


def test_a_taste_vector_trained_long_enough_is_the_closed_form() -> None:
    base = base_of(2)
    new = ratings(base, person(base), 40)
    exact = train(first_request("bayes", "taste_vector", base, new)).adapter
    steps = train(first_request("naive", "taste_vector", base, new, LONG)).adapter
    np.testing.assert_allclose(steps.weight_RA, exact.weight_RA, atol=2e-3)
    np.testing.assert_allclose(steps.beta_A, exact.beta_A, atol=1e-2)
    np.testing.assert_allclose(steps.alpha_A, exact.alpha_A, atol=2e-3)


def test_replay_of_everything_trained_long_enough_is_the_closed_form_of_all_increments() -> None:
    base = base_of(1)
    first, second = ratings(base, person(base), 30), ratings(base, person(base, seed=1), 10, first_sequence=31)
    request = first_request("replay", "taste_vector", base, first, LONG)
    second_request = next_request(request, train(request), second)
    exact = train(first_request("bayes", "taste_vector", base, type(first).concatenate(first, second))).adapter
    np.testing.assert_allclose(train(second_request).adapter.weight_RA, exact.weight_RA, atol=2e-3)


def test_prior_strength_draws_to_the_generic_scores() -> None:
    base = base_of(1)
    new = ratings(base, person(base), 20)
    sizes = [
        float(np.abs(train(first_request("naive", "taste_vector", base, new, config)).adapter.weight_RA).sum())
        for config in (TrainingConfig(prior_strength=0.0), TrainingConfig(), TrainingConfig(prior_strength=100.0))
    ]
    assert sizes[0] > sizes[1] > sizes[2]
