"""The choice of the next pair, on simulated people."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.records import NO_COMPARISONS, PREFERS_FIRST, PREFERS_SECOND, TIE, ComparedSet
from paaplus.scoring.closed_form import fit
from paaplus.scoring.comparisons import log_likelihood
from paaplus.scoring.experts import Expert
from paaplus.scoring.matching import MAX_PAIRS, Question, disagreement_pairs, enough, next_pair
from paaplus.scoring.priors import OwnPrior
from paaplus.scoring.questions import MIN_PAIRS, expected_information
from tests.support.learning import base_of, none_of, person, ratings, taste_of

BASE = base_of(2)
OWN = OwnPrior(BASE)
POOL = ratings(BASE, person(BASE), 40, seed=3)
NOBODY = none_of(POOL)
EXPERTS = [Expert(f"e{i}", taste_of(BASE, person(BASE, seed=i)), 100) for i in range(1, 8)]
NINE, TEN = person(BASE, seed=9), person(BASE, seed=10)
Pairs = list[tuple[int, int]]


def ask(
    asked: Pairs, compared: ComparedSet = NO_COMPARISONS, seed: int = 0, experts: list[Expert] = EXPERTS
) -> Question | None:
    return next_pair(BASE, OWN, experts, NOBODY, compared, POOL.taste_NR, POOL.generic_NA, asked, seed)


def answered(pairs: Pairs, taste_RA: np.ndarray) -> ComparedSet:
    """A simulated person's answers to pairs of the pool."""
    if not pairs:
        return NO_COMPARISONS
    first, second = np.array(pairs).T
    value_IA = POOL.generic_NA + POOL.taste_NR @ taste_RA
    apart_CA = value_IA[first] - value_IA[second]
    return ComparedSet.of(
        np.arange(1, len(pairs) + 1),
        POOL.taste_NR[first],
        POOL.generic_NA[first],
        POOL.taste_NR[second],
        POOL.generic_NA[second],
        np.where(np.abs(apart_CA) < 0.3, TIE, apart_CA > 0),
    )


def test_information_is_that_of_the_answer_about_the_difference() -> None:
    """Against sums over many drawn differences."""
    rng = np.random.default_rng(0)
    for mean, variance in ((0.0, 1.0), (1.5, 4.0), (-0.5, 0.01)):
        drawn_S = mean + np.sqrt(variance) * rng.normal(size=200_000)
        share_S3 = np.exp(
            np.stack(
                [log_likelihood(drawn_S, np.array(a), np.array(1.0)) for a in (PREFERS_FIRST, PREFERS_SECOND, TIE)], 1
            )
        )
        known, told_3 = -(share_S3 * np.log(share_S3)).sum(1).mean(), share_S3.mean(0)
        expected = -(told_3 * np.log(told_3)).sum() - known
        found = expected_information(np.array([mean]), np.array([variance]), 1.0)[0]
        assert found == pytest.approx(expected, abs=5e-3)
    assert expected_information(np.array([3.0]), np.array([0.0]), 1.0)[0] == pytest.approx(0.0, abs=1e-12)


def test_questions_follow_from_answers_and_are_the_same_again() -> None:
    asked: Pairs = []
    for _ in range(6):
        question = ask(asked, answered(asked, NINE))
        assert question is not None
        assert question == ask(asked, answered(asked, NINE))
        assert {question.first, question.second} not in [set(pair) for pair in asked]
        assert question.expected_information > 0
        asked.append((question.first, question.second))
    assert len({image for pair in asked for image in pair}) == 12  # no image twice while there are others
    assert ask(asked, answered(asked, TEN)) != ask(asked, answered(asked, NINE))


def test_no_pair_is_asked_twice_in_either_order_and_the_pool_runs_out() -> None:
    every = list(combinations(range(3), 2))
    small = POOL.select(np.arange(3))

    def ask_small(asked: Pairs) -> Question | None:
        return next_pair(BASE, OWN, [], NOBODY, NO_COMPARISONS, small.taste_NR, small.generic_NA, asked)

    left = ask_small([(b, a) for a, b in every[:2]])
    assert left is not None
    assert {left.first, left.second} == set(every[2])
    assert ask_small(every) is None
    assert next_pair(BASE, OWN, [], NOBODY, NO_COMPARISONS, small.taste_NR[:1], small.generic_NA[:1], []) is None


@pytest.mark.slow
def test_adaptive_pairs_give_more_information_than_random_ones() -> None:
    """Of what people score: squared error of the posterior mean on other images, mean over simulated people.

    Tastes differ by twice the noise of a rating, as on real people or more.
    """
    base = replace(BASE, prior_sd_A=np.ones(2, np.float32))
    own = OwnPrior(base)
    shown = ratings(base, person(base), 200, seed=8)
    error: dict[str, list[float]] = {"adaptive": [], "random": []}
    for seed in range(20, 32):
        rng, taste_RA = np.random.default_rng(seed), person(base, seed=seed)
        pairs: dict[str, Pairs] = {"adaptive": [], "random": []}
        for _ in range(8):
            answers = answered(pairs["adaptive"], taste_RA)
            question = next_pair(base, own, [], NOBODY, answers, POOL.taste_NR, POOL.generic_NA, pairs["adaptive"])
            pairs["adaptive"].append((question.first, question.second))
            pairs["random"].append(tuple(rng.choice(len(POOL), 2, replace=False).tolist()))
        for name, asked in pairs.items():
            adapter = fit(base, own, NOBODY, answered(asked, taste_RA)).adapter
            missed = adapter.delta(shown.taste_NR) - shown.taste_NR @ taste_RA
            error[name].append(float(np.square(missed).mean()))
    assert np.mean(error["adaptive"]) < 0.9 * np.mean(error["random"])


def test_order_in_a_pair_is_random() -> None:
    first = [ask([], seed=seed).first < ask([], seed=seed).second for seed in range(20)]
    assert 0 < sum(first) < 20


def test_quiz_ends_when_the_next_answer_gives_little_or_all_pairs_were_asked() -> None:
    telling, idle = Question(0, 1, 0.3), Question(0, 1, 0.001)
    assert enough(MIN_PAIRS, telling) is None
    assert enough(MIN_PAIRS - 1, idle) is None
    assert "0.001 nats" in enough(MIN_PAIRS, idle)
    assert f"{MAX_PAIRS} pairs" in enough(MAX_PAIRS, telling)
    assert "no pair" in enough(0, None)
    assert "5 pairs" in enough(5, telling, max_pairs=5)


def test_pairs_for_everybody_are_those_on_which_experts_differ() -> None:
    found = disagreement_pairs(BASE, OWN, EXPERTS, POOL.taste_NR, POOL.generic_NA, 6)
    assert len(found) == 6
    assert len({image for pair in found for image in pair}) == 12
    assert found == disagreement_pairs(BASE, OWN, EXPERTS[::-1], POOL.taste_NR, POOL.generic_NA, 6)
    score_EIA = np.stack([one.adapter.score(POOL.taste_NR, POOL.generic_NA) for one in EXPERTS])

    def disagreement(pair: tuple[int, int]) -> float:
        return float((score_EIA[:, pair[0]] - score_EIA[:, pair[1]]).var(0).sum())

    every = [disagreement(pair) for pair in combinations(range(len(POOL)), 2)]
    assert disagreement(found[0]) == pytest.approx(max(every))
    assert np.mean([disagreement(pair) for pair in found]) > np.quantile(every, 0.7)
    assert len(disagreement_pairs(BASE, OWN, EXPERTS, POOL.taste_NR[:3], POOL.generic_NA[:3], 6)) == 1
    with pytest.raises(InvalidInput, match="two at least"):
        disagreement_pairs(BASE, OWN, EXPERTS[:1], POOL.taste_NR, POOL.generic_NA, 6)
