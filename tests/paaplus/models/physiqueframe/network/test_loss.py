from __future__ import annotations

import math

import pytest
import torch

from paaplus.models.physiqueframe.network.loss import AspectLoss

SCORE = torch.tensor([[5.0, 6.0, 7.0], [4.0, 4.0, 4.0]])
TRUTH = torch.tensor([[6.0, 6.0, 5.0], [4.0, 1.0, 4.0]])


def test_plain_loss_is_the_mean_of_summed_squares():
    assert AspectLoss(3, weighted=False)(SCORE, TRUTH).item() == pytest.approx((1 + 4 + 9) / 2)
    assert list(AspectLoss(3, weighted=False).parameters()) == []


def test_weighted_loss_starts_as_the_plain_one():
    assert AspectLoss(3)(SCORE, TRUTH).item() == pytest.approx(7)


def test_weighted_loss_is_the_formula_with_log_variances():
    loss = AspectLoss(3)
    with torch.no_grad():
        loss.log_variance_A.copy_(torch.tensor([0.5, -0.2, 0.1]))
    expected = (math.exp(-0.5) * 1 + math.exp(0.2) * 9 + math.exp(-0.1) * 4) / 2 + 0.4
    assert loss(SCORE, TRUTH).item() == pytest.approx(expected)


def test_log_variances_reach_the_log_of_the_squared_error():
    loss = AspectLoss(3)
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.05)
    truth = SCORE + torch.tensor([2.0, 0.5, 1.0])
    for _ in range(500):
        optimiser.zero_grad()
        loss(SCORE, truth).backward()
        optimiser.step()
    assert loss.log_variance_A.tolist() == pytest.approx([math.log(4), math.log(0.25), 0.0], abs=0.02)


def test_aspects_without_a_label_do_not_count():
    truth = TRUTH.clone()
    truth[0, 2] = truth[1, 1] = math.nan
    score = SCORE.clone().requires_grad_()
    loss = AspectLoss(3)(score, truth)
    loss.backward()
    assert loss.item() == pytest.approx(0.5)
    assert score.grad.tolist() == [[-1, 0, 0], [0, 0, 0]]
