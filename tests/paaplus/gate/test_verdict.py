"""The verdict on all feedback: honest people are followed, rubbish is not, and looks do not add up."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from paaplus.configs import GateConfig
from paaplus.gate import feedback_verdict, order_evidence, scale_sums, wording
from paaplus.gate.eigenvectors import in_leading_directions
from paaplus.gate.order_evidence import OrderEvidence
from paaplus.records import NO_COMPARISONS, ComparedSet, RatedSet
from paaplus.scoring.priors import OwnPrior, design
from tests.support.tiny import FEATURE_DIM, tiny_base

CONFIG = GateConfig()
BASE = tiny_base()
PRIOR = OwnPrior(BASE)
NUM_ASPECTS = len(BASE.aspects)
NO_RATINGS = RatedSet.of(
    np.empty(0), np.empty((0, BASE.taste_dim)), np.empty((0, NUM_ASPECTS)), np.empty((0, NUM_ASPECTS))
)


def images(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    taste_NR = BASE.project(np.random.default_rng(seed).normal(size=(num, FEATURE_DIM)).astype(np.float16))
    return taste_NR, BASE.generic(taste_NR)


def person(num: int, follow: str, seed: int = 0) -> RatedSet:
    """Ratings that follow the generic scores, their reverse, or nothing."""
    taste_NR, generic_NA = images(num, seed)
    rng = np.random.default_rng(seed + 1)
    target_NA = {
        "generic": generic_NA,
        "reverse": 10.0 - generic_NA,
        "nothing": rng.permutation(generic_NA),
        "alike": np.full_like(generic_NA, 7.0),
    }[follow]
    noise = 0.0 if follow == "alike" else 0.3
    return RatedSet.of(
        np.arange(1, num + 1),
        taste_NR,
        generic_NA,
        np.clip(target_NA + rng.normal(scale=noise, size=generic_NA.shape), 0, 10),
    )


def joined(*parts: RatedSet) -> RatedSet:
    """The parts one after the other, numbered from 1."""
    columns = [
        np.concatenate([getattr(part, name) for part in parts]) for name in ("taste_NR", "generic_NA", "target_NA")
    ]
    return RatedSet.of(np.arange(1, len(columns[0]) + 1), *columns)


def verdict(rated: RatedSet, compared: ComparedSet = NO_COMPARISONS):
    return feedback_verdict(rated, compared, PRIOR, CONFIG)


@pytest.mark.parametrize("follow", ["generic", "reverse"])
def test_an_order_goes_live_also_if_it_is_the_reverse_of_everybodys(follow: str) -> None:
    found = verdict(person(40, follow))
    assert found.goes_live
    assert (found.first, found.last, found.num_in_window) == (None, None, 40)


@pytest.mark.parametrize("follow", ["nothing", "alike"])
def test_ratings_without_an_order_do_not_go_live(follow: str) -> None:
    found = verdict(person(60, follow))
    assert not found.stays_live
    assert found.all_alike is (follow == "alike")


@pytest.mark.parametrize("num", [12, 42, 60])
def test_all_answers_that_are_alike_are_counted_and_not_the_windows_alone(num: int) -> None:
    found = verdict(person(num, "alike"))
    assert found.num_in_window < num
    assert f"all {num} answers are alike" in wording.order(found, found.needed)


def test_answers_of_the_window_that_are_alike_are_told_beside_all() -> None:
    found = verdict(joined(person(30, "nothing", seed=3), person(32, "alike")))
    assert "the 2 answers of 62 that follow an order best are alike" in wording.order(found, found.needed)


def test_newest_rubbish_is_outside_the_window() -> None:
    found = verdict(joined(person(50, "generic"), person(50, "nothing", seed=5)))
    assert found.stays_live
    assert found.first is None
    assert found.last in (40, 50, 60)
    assert found.in_window(found.last)
    assert not found.in_window(found.last + 1)
    assert "together with the earlier answers they follow no order" in wording.quarantined(found, 50)


def test_oldest_rubbish_is_outside_the_window() -> None:
    found = verdict(joined(person(60, "nothing", seed=5), person(60, "generic")))
    assert found.goes_live
    assert found.first in (51, 61, 71)
    assert found.last is None
    assert "together with the later answers they follow no order" in wording.quarantined(found, 60)


def test_taste_that_turned_is_followed() -> None:
    found = verdict(joined(person(50, "generic"), person(50, "reverse", seed=5)))
    assert found.goes_live
    assert found.turned
    assert found.first in (41, 51, 61)
    assert "the taste has turned since" in wording.quarantined(found, 50)


def test_nobody_who_said_nothing_goes_live() -> None:
    found = verdict(NO_RATINGS)
    assert not found.goes_live
    assert found.num_answers == 0


def pairs(num: int, answer: str, seed: int = 0) -> ComparedSet:
    taste_NR, generic_NA = images(30, seed)
    rng = np.random.default_rng(seed + 2)
    if answer == "circles":
        triples = [rng.choice(30, 3, replace=False) for _ in range(num // 3 + 1)]
        places = np.concatenate([[(a, b), (b, c), (c, a)] for a, b, c in triples])[:num]
    else:
        places = np.array([rng.choice(30, 2, replace=False) for _ in range(num)])
    first, second = places.T
    better_CA = (generic_NA[first] > generic_NA[second]).astype(float)
    preference_CA = {
        "generic": better_CA,
        "reverse": 1.0 - better_CA,
        "coin": rng.integers(0, 2, better_CA.shape).astype(float),
        "first": np.ones_like(better_CA),
        "circles": np.ones_like(better_CA),
    }[answer]
    columns = (taste_NR[first], generic_NA[first], taste_NR[second], generic_NA[second])
    return ComparedSet.of(np.arange(1001, 1001 + num), *columns, preference_CA)


@pytest.mark.parametrize(
    ("answer", "live"), [("generic", True), ("reverse", True), ("coin", False), ("first", False), ("circles", False)]
)
def test_comparisons_alone_are_judged(answer: str, live: bool) -> None:
    assert verdict(NO_RATINGS, pairs(60, answer)).goes_live is live


def test_comparisons_by_coin_do_not_undo_an_order_of_ratings_before_them() -> None:
    found = verdict(person(50, "generic"), pairs(60, "coin"))
    assert found.stays_live
    assert found.last is not None
    assert found.last <= 1010


@pytest.mark.slow
def test_evidence_of_ratings_is_that_of_the_model_worked_out_directly() -> None:
    rated = person(7, "generic")
    evidence = OrderEvidence(rated, NO_COMPARISONS, np.zeros(7, int), np.empty(0, int), 1, PRIOR)
    expected = []
    for aspect in range(NUM_ASPECTS):
        y, g = rated.target_NA[:, aspect].astype(float) - 5, rated.generic_NA[:, aspect].astype(float) - 5
        coordinates = PRIOR.coordinates(design(rated.taste_NR, g + 5), aspect)
        # A flat prior of the mean: the density of contrasts, whatever the mean is.
        contrasts = np.linalg.qr(np.column_stack([np.ones(7), np.eye(7)[:, 1:]]))[0][:, 1:].T
        terms, null = [], []
        for log_scale in scale_sums._LOG_SCALE_S:
            scale = np.exp(log_scale)
            for gamma, s, probability in order_evidence._ORDERS:
                for noise in order_evidence._NOISES:
                    sd = noise * PRIOR.noise_sd_A[aspect]
                    covariance = contrasts @ (np.eye(7) + (s / sd) ** 2 * coordinates @ coordinates.T) @ contrasts.T
                    normal = multivariate_normal(contrasts @ g * gamma / sd * scale, scale**2 * covariance)
                    terms.append(normal.logpdf(contrasts @ y) + np.log(probability / len(order_evidence._NOISES)))
            null.append(multivariate_normal(np.zeros(6), scale**2 * np.eye(6)).logpdf(contrasts @ y))
        expected.append(logsumexp(terms) - logsumexp(null))
    assert evidence.of_windows(np.array([(0, 1)]))[0] == pytest.approx(np.mean(expected), abs=1e-6)


@pytest.mark.parametrize("change", [lambda y: y * 0.5 + 4.0, lambda y: y * 0.2 + 1.0])
def test_mean_and_scale_of_a_person_do_not_count(change) -> None:
    rated = person(30, "generic")
    moved = RatedSet.of(rated.sequence_N, rated.taste_NR, rated.generic_NA, change(rated.target_NA))
    assert verdict(moved).score == pytest.approx(verdict(rated).score, abs=0.1)


@pytest.mark.slow
def test_evidence_of_no_order_has_a_mean_likelihood_ratio_of_one_at_most() -> None:
    """What Ville's inequality needs, on normal ratings that have nothing to do with the images."""
    rng, ratios = np.random.default_rng(0), []
    for seed in range(200):
        taste_NR, generic_NA = images(10, seed)
        rated = RatedSet.of(np.arange(1, 11), taste_NR, generic_NA, rng.normal(5.0, 1.5, size=(10, NUM_ASPECTS)))
        evidence = OrderEvidence(rated, NO_COMPARISONS, np.zeros(10, int), np.empty(0, int), 1, PRIOR)
        ratios.append(float(np.exp(evidence.of_windows(np.array([(0, 1)]))[0])))
    assert np.mean(ratios) < 1.0 + 3 * np.std(ratios) / np.sqrt(len(ratios))
    assert np.mean(np.array(ratios) > 3.0) < 1 / 3


def test_cached_evidence_gives_the_same_verdict() -> None:
    rated, cache = joined(person(40, "generic"), person(40, "nothing", seed=5)), {}
    for end in (20, 50, 80):
        part = rated.select(np.arange(end))
        found = feedback_verdict(part, NO_COMPARISONS, PRIOR, CONFIG, cache)
        assert found.score == pytest.approx(verdict(part).score, abs=1e-6)
        assert (found.first, found.last) == (verdict(part).first, verdict(part).last)


def test_long_histories_stay_cheap() -> None:
    long, short = person(10_000, "generic"), person(1_000, "generic")
    started = time.process_time()
    verdict(short)
    short_s = time.process_time() - started
    started = time.process_time()
    assert verdict(long).goes_live
    assert time.process_time() - started < 8 * short_s + 2.0, "ten times the feedback, not ten squared"


@pytest.mark.parametrize(("num_rows", "num_coordinates"), [(9, 20), (25, 20), (20, 20)])
def test_rows_in_the_leading_directions_have_the_products_of_their_projections(
    num_rows: int, num_coordinates: int
) -> None:
    row_NK = np.random.default_rng(3).normal(size=(num_rows, num_coordinates))
    direction_KM = np.linalg.svd(row_NK)[2][:6].T  # worked out in another way
    row_NM = in_leading_directions(row_NK, 6)
    assert row_NM.shape == (num_rows, 6)
    projected_NM = row_NK @ direction_KM
    np.testing.assert_allclose(row_NM @ row_NM.T, projected_NM @ projected_NM.T, atol=1e-10)
