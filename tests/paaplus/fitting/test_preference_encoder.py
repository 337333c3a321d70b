"""Preference encoders on simulated people, with answers that predict taste and with answers that do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.fitting.preference_encoder import fit_preference_encoder
from paaplus.records import RatedSet
from paaplus.scoring.priors import design
from tests.support.tiny import FEATURE_DIM, TASTE_DIM, tiny_base

BASE = tiny_base()


@dataclass(frozen=True)
class People:
    """Simulated people who differ in one direction of taste space and in their mean rating."""

    rated: list[RatedSet]
    liking_U: np.ndarray
    level_U: np.ndarray
    direction_R: np.ndarray


def simulate(num_people: int = 90, seed: int = 0, level_sd: float = 0.6) -> People:
    rng = np.random.default_rng(seed)
    direction_R = rng.normal(size=TASTE_DIM)
    direction_R /= np.linalg.norm(direction_R)
    liking_U, level_U = rng.normal(size=num_people), level_sd * rng.normal(size=num_people)
    rated = []
    for u in range(num_people):
        taste_NR = BASE.project(rng.normal(size=(40, FEATURE_DIM)).astype(np.float16))
        generic_NA = BASE.generic(taste_NR)
        own_N = 4.0 * liking_U[u] * (taste_NR @ direction_R) + level_U[u]
        target_NA = generic_NA + own_N[:, None] + 0.3 * rng.normal(size=(40, 1))
        rated.append(RatedSet.of(np.arange(1, 41), taste_NR, generic_NA, np.clip(target_NA, 0, 10)))
    return People(rated, liking_U, level_U, direction_R)


def added(shift_PA: np.ndarray, rated: RatedSet) -> np.ndarray:
    """What a shift adds to the scores of these images, shape (N,)."""
    return design(rated.taste_NR, rated.generic_NA[:, 0]) @ shift_PA[:, 0]


@pytest.fixture(scope="module")
def people() -> People:
    return simulate()


def test_answers_that_predict_taste_give_its_shift(people: People) -> None:
    rng = np.random.default_rng(1)
    noise_U3 = rng.normal(size=(len(people.liking_U), 3))
    answers_UQ = np.column_stack([people.liking_U + 0.3 * noise_U3[:, 0], noise_U3[:, 1:]])
    encoder, metrics = fit_preference_encoder(BASE, people.rated, answers_UQ)
    assert metrics["gain_low"] > 0
    assert metrics["taste"]["gain"] > 0.5 * metrics["taste"]["of"]
    assert encoder.is_informative
    for liking in (-2.0, 2.0):  # answers between those in the data
        added_N = added(encoder.shift(encoder.encode(np.array([liking, np.nan, np.nan]))), people.rated[0])
        wanted_N = 4.0 * liking * (people.rated[0].taste_NR @ people.direction_R)
        assert np.corrcoef(added_N, wanted_N)[0, 1] > 0.95
        assert added_N.std() == pytest.approx(wanted_N.std(), rel=0.3)


def test_answers_that_predict_the_level_shift_only_the_level(people: People) -> None:
    encoder, metrics = fit_preference_encoder(BASE, people.rated, people.level_U[:, None])
    assert metrics["level"]["penalty"] is not None
    assert metrics["taste"]["penalty"] is None
    added_N = added(encoder.shift(encoder.encode(np.array([1.0]))), people.rated[0])
    assert added_N.mean() == pytest.approx(1.0, abs=0.3)
    assert added_N.std() < 0.2


@pytest.mark.parametrize("seed", range(5))
def test_uninformative_answers_shift_nothing(people: People, seed: int) -> None:
    answers_UQ = np.random.default_rng([seed, 3]).normal(size=(len(people.rated), 20))
    encoder, metrics = fit_preference_encoder(BASE, people.rated, answers_UQ, seed=seed)
    assert not encoder.is_informative
    assert metrics["gain"] == metrics["gain_low"] == 0
    assert encoder.encode(answers_UQ[0]).tolist() == [0.5] * 5


def test_missing_answers_count_as_average_ones(people: People) -> None:
    rng = np.random.default_rng(2)
    answers_UQ = np.column_stack([people.liking_U, people.liking_U])
    answers_UQ[rng.random(answers_UQ.shape) < 0.3] = np.nan
    encoder, metrics = fit_preference_encoder(BASE, people.rated, answers_UQ)
    assert metrics["num_people"] == int((~np.isnan(answers_UQ).all(1)).sum())
    assert metrics["gain_low"] > 0
    both, one = (
        added(encoder.shift(encoder.encode(np.array(a))), people.rated[0]).std() for a in ([1.5, 1.5], [1.5, np.nan])
    )
    assert 0 < one < both


def test_predictions_of_low_rank_are_fitted(people: People) -> None:
    """Groups with different questions, repeated columns, and columns with equal answers."""
    answers_UQ = np.full((len(people.rated), 42), np.nan)
    for u, liking in enumerate(people.liking_U):
        answers_UQ[u, 20 * (u % 2) : 20 * (u % 2) + 20] = np.sign(liking)
    answers_UQ[:, 40] = 7.0
    encoder, metrics = fit_preference_encoder(BASE, people.rated, answers_UQ)
    assert metrics["taste"]["gain_low"] > 0
    assert np.count_nonzero(np.abs(encoder.weight_QF).sum(0)) <= 2  # as many values as there are independent answers


def test_same_people_and_answers_give_the_same_bytes(people: People) -> None:
    answers_UQ = people.liking_U[:, None]
    first, again = (fit_preference_encoder(BASE, people.rated, answers_UQ)[0] for _ in range(2))
    assert first.to_bytes() == again.to_bytes()


def test_every_aspect_is_learned_from_those_who_rated_it() -> None:
    base = tiny_base(("beauty", "health"))
    rng = np.random.default_rng(4)
    liking_U = rng.normal(size=80)
    rated = []
    for u in range(80):
        taste_NR = base.project(rng.normal(size=(30, FEATURE_DIM)).astype(np.float16))
        generic_NA = base.generic(taste_NR)
        target_NA = generic_NA.astype(np.float64).copy()
        target_NA[:, 1] += 4.0 * liking_U[u] * taste_NR[:, 0]
        if u % 2:
            target_NA[:, 0] = np.nan
        rated.append(RatedSet.of(np.arange(1, 31), taste_NR, generic_NA, target_NA))
    encoder, _ = fit_preference_encoder(base, rated, liking_U[:, None])
    shift_PA = encoder.shift(encoder.encode(np.array([1.0])))
    design_NP = design(rated[0].taste_NR, rated[0].generic_NA[:, 1])
    assert np.corrcoef(design_NP @ shift_PA[:, 1], rated[0].taste_NR[:, 0])[0, 1] > 0.95
    assert (design_NP @ shift_PA[:, 1]).std() == pytest.approx(4.0 * rated[0].taste_NR[:, 0].std(), rel=0.3)
    assert added(shift_PA, rated[0]).std() < 0.2 * (design_NP @ shift_PA[:, 1]).std()


def test_too_few_people_and_arrays_that_do_not_fit_are_refused(people: People) -> None:
    answers_UQ = np.zeros((len(people.rated), 1))
    with pytest.raises(InvalidInput, match="49 people rated and answered; a preference encoder needs 50"):
        fit_preference_encoder(BASE, people.rated[:49], answers_UQ[:49])
    answers_UQ[49:] = np.nan
    with pytest.raises(InvalidInput, match="49 people"):
        fit_preference_encoder(BASE, people.rated, answers_UQ)
    for wrong, columns in ((answers_UQ[:3], ()), (answers_UQ, ("a", "b")), (np.full_like(answers_UQ, np.inf), ())):
        with pytest.raises(InvalidInput):
            fit_preference_encoder(BASE, people.rated, wrong, columns)
    with pytest.raises(InvalidInput, match="0 values"):
        fit_preference_encoder(BASE, people.rated, answers_UQ, dim=0)
