"""The likelihood of comparisons by hand, against autograd, and against people who act as it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from paaplus.scoring.comparisons import TIE_WIDTH, slope_and_curvature
from paaplus.strategies.likelihood import LogLikelihood, information, log_likelihood

ANSWERS = (1.0, 0.0, 0.5)  # first, second, tie
ONE = torch.ones(1, dtype=torch.float64)


def float64(values: list) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def probability(difference: float, answer: float, noise_sd: float = 1.0) -> float:
    return math.exp(log_likelihood(float64([[difference]]), float64([[answer]]), noise_sd * ONE).item())


@pytest.mark.parametrize("difference", [-30.0, -1.0, 0.0, 0.4, 7.0])
def test_the_three_answers_are_all_there_are(difference: float) -> None:
    assert sum(probability(difference, answer) for answer in ANSWERS) == pytest.approx(1.0)


def test_of_two_images_with_one_score_every_answer_is_equally_likely() -> None:
    assert [probability(0.0, answer) for answer in ANSWERS] == pytest.approx([1 / 3] * 3)


def test_probabilities_are_those_worked_out_by_hand() -> None:
    # Rao and Kupper with theta = 2: first = e^z / (e^z + 2), second = 1 / (2 e^z + 1)
    difference = 1.5
    odds = math.exp(difference / (2.0 * math.sqrt(6.0) / math.pi))
    assert probability(difference, 1.0, noise_sd=2.0) == pytest.approx(odds / (odds + 2.0))
    assert probability(difference, 0.0, noise_sd=2.0) == pytest.approx(1.0 / (2.0 * odds + 1.0))


def test_answers_are_those_of_people_who_weigh_up_two_noisy_ratings() -> None:
    rng = np.random.default_rng(0)
    noise_sd, difference = 1.3, 0.9
    # the difference of two Gumbel values is logistic: the same variance as normal noise, the same tails as the model
    scale = noise_sd * math.sqrt(6.0) / math.pi
    weighed = difference + rng.gumbel(0, scale, 400_000) - rng.gumbel(0, scale, 400_000)
    assert np.std(weighed) == pytest.approx(noise_sd * math.sqrt(2), rel=0.01)
    shares = [
        (weighed > TIE_WIDTH * scale).mean(),
        (weighed < -TIE_WIDTH * scale).mean(),
        (np.abs(weighed) < TIE_WIDTH * scale).mean(),
    ]
    assert [probability(difference, answer, noise_sd) for answer in ANSWERS] == pytest.approx(shares, abs=0.005)


def targets(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor([rows])


def test_loss_of_ratings_is_that_worked_out_by_hand() -> None:
    score_UVA = torch.tensor([[[5.0, 6.0], [4.0, 4.0]]])
    criterion = LogLikelihood(torch.tensor([2.0, 1.0]), num_pairs=0)
    # targets 7 and none, 4 and 1; weights 1 and 0.5 over the noise's variance: (2 / 2)^2 = 1, and half of 0 + 3^2
    loss = criterion(score_UVA, targets([[7.0, 0.0, 0.25, 0.0], [4.0, 1.0, 0.125, 0.5]]))
    assert loss.item() == pytest.approx(1.0 + 4.5)
    assert criterion.loss_U.tolist() == [loss.item()]


def test_losses_of_users_are_told_apart_and_their_gradients_are_their_own() -> None:
    score_UVA = torch.tensor([[[5.0]], [[math.inf]], [[4.0]]], requires_grad=True)
    criterion = LogLikelihood(torch.ones(1), num_pairs=0)
    criterion(score_UVA, torch.tensor([[[4.0, 1.0]], [[4.0, 1.0]], [[6.0, 1.0]]])).backward()
    assert criterion.loss_U.tolist() == [1.0, math.inf, 4.0]
    assert score_UVA.grad[[0, 2]].flatten().tolist() == [2.0, -4.0]


def test_what_was_not_said_adds_nothing_and_has_no_gradient() -> None:
    score_UVA = torch.tensor([[[8.0, 1.0], [3.0, 4.0], [1.0, 2.0]]], requires_grad=True)
    criterion = LogLikelihood(torch.ones(2), num_pairs=1)
    # a rating of nothing, and a comparison of the first aspect, which counts twice; the second image has no columns
    loss = criterion(score_UVA, targets([[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(-2.0 * 2.0 * math.log(probability(2.0, 1.0)), rel=1e-5)
    assert score_UVA.grad[0, 1, 0] == -score_UVA.grad[0, 2, 0] < 0
    assert score_UVA.grad.count_nonzero() == 2


def test_far_from_what_was_said_the_loss_is_finite() -> None:
    difference_CA = torch.tensor([[1e4], [-1e4], [1e4]], requires_grad=True)
    log_likelihood_CA = log_likelihood(difference_CA, torch.tensor([[0.0], [1.0], [0.5]]), torch.ones(1))
    log_likelihood_CA.sum().backward()
    assert torch.isfinite(log_likelihood_CA).all()
    assert torch.isfinite(difference_CA.grad).all()


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("difference", [-2.0, 0.0, 0.7])
def test_slope_and_curvature_are_the_derivatives(answer: float, difference: float) -> None:
    noise_sd = 1.7

    def of_answer(at: torch.Tensor) -> torch.Tensor:
        return log_likelihood(at.reshape(1, 1), float64([[answer]]), noise_sd * ONE).sum()

    at = torch.tensor(difference, dtype=torch.float64)
    slope_CA, curvature_CA = slope_and_curvature(np.array([[difference]]), np.array([[answer]]), np.array([noise_sd]))
    assert slope_CA.item() == pytest.approx(torch.autograd.functional.jacobian(of_answer, at).item(), abs=1e-12)
    assert curvature_CA.item() == pytest.approx(-torch.autograd.functional.hessian(of_answer, at).item())


def test_slope_and_curvature_of_nothing_said_are_zero() -> None:
    slope_CA, curvature_CA = slope_and_curvature(np.array([[1.0]]), np.array([[math.nan]]), np.ones(1))
    assert (slope_CA.item(), curvature_CA.item()) == (0.0, 0.0)


def test_information_is_the_mean_curvature_over_the_answers() -> None:
    difference, noise_sd_A = 0.8, np.array([1.4])
    expected = sum(
        probability(difference, answer, noise_sd_A.item())
        * slope_and_curvature(np.array([[difference]]), np.array([[answer]]), noise_sd_A)[1].item()
        for answer in ANSWERS
    )
    compared = torch.tensor([[ANSWERS[0]]])
    found = information(torch.tensor([[difference]]), compared, torch.from_numpy(noise_sd_A))
    assert found.item() == pytest.approx(expected)


def test_a_comparison_says_less_than_two_ratings_would() -> None:
    # two ratings know the difference with variance 2: information 1/2; an answer out of three cannot know it better
    assert 0.2 < information(torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1)).item() < 0.5
