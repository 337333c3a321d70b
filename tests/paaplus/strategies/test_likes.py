"""Likes train, in every strategy and adapter, in the same likelihood as ratings and comparisons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from paaplus.records import DISLIKED, LIKED, NO_COMPARISONS, PREFERS_FIRST
from paaplus.scoring import comparisons as in_numpy
from paaplus.scoring.adapters import Adapter
from paaplus.strategies.likelihood import information, log_likelihood
from paaplus.training import train, train_many
from tests.support.learning import PAIRS, base_of, first_request, likes, none_of, person, ratings

BASE = base_of(1)
TASTE = person(BASE, 3)
UNSEEN = ratings(BASE, TASTE, 200, first_sequence=10_000, missing=0.0, noise=0.0)
NOTHING = none_of(UNSEEN)


def srcc(adapter: Adapter | None) -> float:
    score_NA = UNSEEN.generic_NA if adapter is None else adapter.score(UNSEEN.taste_NR, UNSEEN.generic_NA)
    return float(spearmanr(score_NA[:, 0], UNSEEN.target_NA[:, 0]).statistic)


@pytest.mark.parametrize(("strategy", "kind"), PAIRS)
def test_likes_alone_train_every_strategy(strategy: str, kind: str) -> None:
    first, second = likes(BASE, TASTE, 60, middle=5.5), likes(BASE, TASTE, 60, middle=5.5, first_sequence=61)
    one = train(replace(first_request(strategy, kind, BASE, NOTHING), new_compared=first))
    two = train(
        replace(
            replace(first_request(strategy, kind, BASE, NOTHING), new_compared=second),
            past_compared=first,
            parent=one.adapter,
            state=one.state,
        )
    )
    assert srcc(one.adapter) > srcc(None) + 0.05
    assert srcc(two.adapter) > srcc(None) + 0.05


@pytest.mark.parametrize(("strategy", "kind"), PAIRS)
def test_dislikes_are_the_reverse_of_likes(strategy: str, kind: str) -> None:
    liked = likes(BASE, TASTE, 60, middle=5.0)
    reversed_ = replace(liked, preference_CA=1.0 - liked.preference_CA)
    assert set(np.unique(reversed_.preference_CA)) <= {LIKED, DISLIKED}
    turned = train(replace(first_request(strategy, kind, BASE, NOTHING), new_compared=reversed_)).adapter
    assert srcc(turned) < srcc(None) - 0.05


def test_a_persons_middle_does_not_become_their_taste() -> None:
    """Whoever likes everything has a low middle: no order of images follows, and scores stay."""
    all_liked = likes(BASE, TASTE, 60, middle=-20.0)
    adapter = train(replace(first_request("bayes", "taste_vector", BASE, NOTHING), new_compared=all_liked)).adapter
    score_NA = adapter.score(UNSEEN.taste_NR, UNSEEN.generic_NA)
    assert spearmanr(score_NA[:, 0], UNSEEN.generic_NA[:, 0]).statistic > 0.9


def test_torch_and_numpy_have_one_likelihood() -> None:
    difference = np.linspace(-6, 6, 25)[:, None]
    for answer in (LIKED, DISLIKED, PREFERS_FIRST):
        answers = np.full_like(difference, answer)
        expected = in_numpy.log_likelihood(difference, answers, np.array([1.3]))
        found = log_likelihood(
            torch.from_numpy(difference), torch.from_numpy(answers), torch.tensor([1.3], dtype=torch.float64)
        )
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_information_of_a_like_is_its_mean_curvature() -> None:
    at, noise_sd = np.array([[0.8]]), np.array([1.4])
    answers = [np.full_like(at, answer) for answer in (LIKED, DISLIKED)]
    expected = sum(
        np.exp(in_numpy.log_likelihood(at, answer, noise_sd)) * in_numpy.slope_and_curvature(at, answer, noise_sd)[1]
        for answer in answers
    )
    found = information(torch.from_numpy(at), torch.from_numpy(answers[0]), torch.from_numpy(noise_sd))
    assert found.item() == pytest.approx(float(expected[0, 0]))


def test_who_shares_the_stack_does_not_matter_to_likes() -> None:
    own = replace(first_request("replay", "taste_vector", BASE, NOTHING), new_compared=likes(BASE, TASTE, 30))
    other = replace(
        first_request("replay", "taste_vector", BASE, ratings(BASE, TASTE, 30)), new_compared=NO_COMPARISONS
    )
    [alone] = train_many([own])
    together = train_many([other, own, other])[1]
    assert alone.adapter.digest == together.adapter.digest


def test_likes_and_ratings_train_together() -> None:
    rated = ratings(BASE, TASTE, 30, missing=0.0)
    liked = likes(BASE, TASTE, 90, middle=6.0, first_sequence=31)
    both = train(replace(first_request("bayes", "taste_vector", BASE, rated), new_compared=liked)).adapter
    ratings_only = train(first_request("bayes", "taste_vector", BASE, rated)).adapter
    assert srcc(both) > srcc(ratings_only)
