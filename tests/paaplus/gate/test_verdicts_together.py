"""Verdicts on many users' feedback beside the verdict on each alone."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.configs import GateConfig
from paaplus.gate import JudgedFeedback, feedback_verdict, feedback_verdicts
from paaplus.records import ANSWERS, NO_COMPARISONS, ComparedSet, RatedSet
from paaplus.scoring.priors import OwnPrior, TastePrior
from tests.support.tiny import tiny_base

TASTE_DIM, NUM_ASPECTS = 90, 2
KINDS = ("random", "follows", "reverse", "alike", "two values", "turned", "gaps")


def wide_prior(rng: np.random.Generator) -> TastePrior:
    """Of more directions than the evidence takes."""
    factor_PKA = rng.normal(size=(TASTE_DIM + 2, TASTE_DIM, NUM_ASPECTS)) / 12.0
    return TastePrior(
        "b" * 64, rng.normal(scale=0.05, size=(TASTE_DIM + 2, NUM_ASPECTS)), factor_PKA, np.array([1.3, 0.9])
    )


def values(kind: str, generic_NA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noisy_NA = generic_NA + rng.normal(scale=0.5, size=generic_NA.shape)
    half = len(generic_NA) // 2
    target_NA = {
        "random": rng.uniform(0, 10, size=generic_NA.shape),
        "follows": noisy_NA,
        "reverse": 10.0 - noisy_NA,
        "alike": np.full_like(generic_NA, 7.0),
        "two values": rng.choice([0.0, 10.0], size=generic_NA.shape),
        "turned": np.concatenate([noisy_NA[:half], 10.0 - noisy_NA[half:]]),
        "gaps": np.where(rng.random(generic_NA.shape) < 0.4, np.nan, noisy_NA),
    }[kind]
    return np.clip(target_NA, 0, 10)


def feedback(kind: str, num_ratings: int, num_compared: int, prior: TastePrior, seed: int) -> JudgedFeedback:
    rng = np.random.default_rng(seed)
    sequence_X = rng.permutation(np.sort(rng.choice(3_000, num_ratings + num_compared, replace=False)) + 1)
    taste_NR = rng.normal(size=(num_ratings, TASTE_DIM))
    generic_NA = np.clip(5 + 1.5 * rng.normal(size=(num_ratings, NUM_ASPECTS)), 0, 10)
    rated = RatedSet.of(np.sort(sequence_X[:num_ratings]), taste_NR, generic_NA, values(kind, generic_NA, rng))
    compared = NO_COMPARISONS
    if num_compared:
        first_CR, second_CR = rng.normal(size=(2, num_compared, TASTE_DIM))
        first_CA, second_CA = rng.normal(5, 1.5, size=(2, num_compared, NUM_ASPECTS))
        preference_CA = rng.choice([*ANSWERS, np.nan], size=(num_compared, NUM_ASPECTS))
        compared = ComparedSet.of(
            np.sort(sequence_X[num_ratings:]), first_CR, first_CA, second_CR, second_CA, preference_CA
        )
    return JudgedFeedback(rated, compared, prior, GateConfig())


def test_together_is_as_alone() -> None:
    """Users of all kinds: few and many ratings (retracted ones leave gaps in the sequence), comparisons and likes."""
    rng = np.random.default_rng(0)
    priors = [wide_prior(rng), wide_prior(rng)]
    sizes = [(0, 0), (1, 0), (2, 0), (17, 0), (64, 0), (66, 0), (80, 0), (97, 0), (140, 0), (0, 3), (20, 6), (70, 5)]
    users = [
        feedback(kind, *size, priors[seed % 2], 100 * seed + place)
        for seed, kind in enumerate(KINDS)
        for place, size in enumerate(sizes)
    ]
    together = feedback_verdicts(users)
    alone = [feedback_verdict(user.rated, user.compared, user.prior, user.config) for user in users]
    for user, one, other in zip(users, together, alone, strict=True):
        facts, expected = one.to_dict(), other.to_dict()
        assert facts.pop("log_odds") == pytest.approx(expected.pop("log_odds"), rel=1e-12, abs=1e-11), len(user.rated)
        assert facts == expected
    assert len({(each.first is None, each.last is None, each.turned) for each in alone}) >= 3, "the cases differ"


def test_users_of_no_feedback_have_verdicts_among_others() -> None:
    base = tiny_base()
    taste_NR, generic_NA = np.empty((0, base.taste_dim)), np.empty((0, len(base.aspects)))
    nothing = RatedSet.of(np.empty(0), taste_NR, generic_NA, generic_NA)
    user = JudgedFeedback(nothing, NO_COMPARISONS, OwnPrior(base), GateConfig())
    assert feedback_verdicts([]) == []
    assert [each.num_answers for each in feedback_verdicts([user, user])] == [0, 0]


def test_numbers_of_one_that_are_none_change_no_other_verdict() -> None:
    prior = wide_prior(np.random.default_rng(1))
    good, bad = feedback("follows", 30, 0, prior, 1), feedback("follows", 30, 0, prior, 2)
    bad.rated.taste_NR[3] = np.nan
    found = feedback_verdicts([good, bad])
    assert found[0].score == pytest.approx(feedback_verdicts([good])[0].score, abs=1e-12)
    assert not found[1].goes_live
    assert not found[1].stays_live


def test_feedback_on_other_images_than_the_priors_raises() -> None:
    """The caller then judges each alone."""
    prior = wide_prior(np.random.default_rng(1))
    good, bad = feedback("follows", 30, 0, prior, 1), feedback("follows", 30, 0, prior, 2)
    narrow = RatedSet.of(bad.rated.sequence_N, bad.rated.taste_NR[:, 1:], bad.rated.generic_NA, bad.rated.target_NA)
    with pytest.raises(ValueError, match="matmul"):
        feedback_verdicts([good, JudgedFeedback(narrow, NO_COMPARISONS, prior, GateConfig())])
