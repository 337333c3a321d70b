"""The sums of ratings beside the rows that they stand for, and what is known of ratings beside what is made anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paaplus.records import RatedSet
from paaplus.scoring import closed_form, rating_sums
from paaplus.scoring.priors import OwnPrior, Prior, TastePrior
from paaplus.scoring.rating_sums import RatingSums, sums_of
from tests.support.learning import base_of, comparisons, none_of, person, ratings

BASE = base_of(2)
RATED = ratings(BASE, person(BASE), 200)


class Memory:
    """Keeps what was made last."""

    def __init__(self) -> None:
        self.known: RatingSums | None = None

    def get(self) -> RatingSums | None:
        return self.known

    def put(self, sums: RatingSums) -> None:
        self.known = sums


def learned_prior() -> TastePrior:
    rng, num = np.random.default_rng(1), BASE.taste_dim + 2
    factor_PKA = rng.normal(0, 0.4, (num, 5, 2)).astype(np.float32)
    mean_PA = rng.normal(0, 0.2, (num, 2)).astype(np.float32)
    return TastePrior(BASE.digest, mean_PA, factor_PKA, np.array([0.7, 1.1], np.float32))


@pytest.mark.parametrize("prior", [OwnPrior(BASE), learned_prior()], ids=["own", "learned"])
@pytest.mark.parametrize("num_compared", [0, 25])
def test_a_fit_by_sums_is_the_fit_by_rows(prior: Prior, num_compared: int) -> None:
    compared = comparisons(BASE, person(BASE), num_compared, first_sequence=1000)
    sums = RatingSums.of(BASE, RATED)
    assert sums is not None
    told_N = np.arange(200) >= 150
    by_sums = closed_form.fit_sums(BASE, prior, sums, compared, told_N)
    by_rows = closed_form.fit(BASE, prior, RATED, compared)
    np.testing.assert_allclose(by_sums.weight_PA, by_rows.weight_PA, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(by_sums.loo_NA[150:], by_rows.loo_NA[150:], rtol=1e-6)
    assert np.isnan(by_sums.loo_NA[:150]).all()
    image_BP = prior.coordinates(np.column_stack([np.ones(200), RATED.generic_NA[:, 0] - 5, RATED.taste_NR]), 0)
    for a in range(2):
        np.testing.assert_allclose(
            by_sums.uncertainty.score_variance(image_BP, a), by_rows.uncertainty.score_variance(image_BP, a), rtol=1e-4
        )


def test_an_aspect_that_nobody_rates_has_sums_of_nothing() -> None:
    rated = replace(RATED, target_NA=np.where([True, False], RATED.target_NA, np.float32(np.nan)))
    sums = RatingSums.of(BASE, rated)
    assert sums is not None
    prior = OwnPrior(BASE)
    fitted = closed_form.fit_sums(BASE, prior, sums, comparisons(BASE, person(BASE), 0), np.ones(200, np.bool_))
    assert not fitted.weight_PA[:, 1].any()
    assert fitted.adapter.is_finite()


def later(rated: RatedSet) -> RatedSet:
    """Some ratings are gone, others are new, one is another one, and one image lies elsewhere in taste space."""
    target_NA, taste_NR = rated.target_NA.copy(), rated.taste_NR.copy()
    target_NA[70], taste_NR[80, 0] = 1.25, 0.5
    changed = replace(rated, target_NA=target_NA, taste_NR=taste_NR)
    kept = changed.select(~np.isin(np.arange(len(rated)), [3, 90]))
    return RatedSet.concatenate(kept, ratings(BASE, person(BASE), 12, first_sequence=500))


def test_sums_that_are_known_become_those_that_are_made_anew() -> None:
    known, now = RatingSums.of(BASE, RATED), later(RATED)
    anew = RatingSums.of(BASE, now)
    assert known is not None
    assert anew is not None
    changed = known.changed_to(BASE, now)
    assert changed is not None
    assert [each.sum_HH.tobytes() for each in changed.sums] == [each.sum_HH.tobytes() for each in anew.sums]
    assert known.changed_to(base_of(1), now) is None
    assert known.changed_to(BASE, ratings(BASE, person(BASE), 100, first_sequence=900)) is None


def test_ratings_that_lie_where_they_lay_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    count = RatedSet.select

    def counted(self: RatedSet, index: np.ndarray | slice) -> RatedSet:
        found = count(self, index)
        compared.append(len(found))
        return found

    first, everything = RATED.select(slice(180)), RATED.select(slice(None))
    known = RatingSums.of(BASE, first)
    assert known is not None
    monkeypatch.setattr(RatedSet, "select", counted)
    assert known.changed_to(BASE, everything) is not None
    assert max(compared) == 20


def test_there_are_sums_of_many_ratings_of_weight_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rating_sums, "FEWEST", 50)
    prior, memory = OwnPrior(BASE), Memory()
    assert sums_of(BASE, prior, RATED.select(slice(50)), memory) is None
    assert sums_of(BASE, prior, replace(RATED, weight_N=RATED.weight_N * np.float32(0.5)), memory) is None
    huge = replace(RATED, taste_NR=RATED.taste_NR * np.float32(1e9))
    assert sums_of(BASE, prior, huge, memory) is None
    assert sums_of(BASE, prior, none_of(RATED), None) is None
    assert memory.known is None
    made = sums_of(BASE, prior, RATED, memory)
    assert made is memory.known is not None
    monkeypatch.setattr(RatingSums, "of", None)  # what is known is used
    assert sums_of(BASE, prior, later(RATED), memory) is memory.known is not made
    monkeypatch.setattr(rating_sums, "FEWEST", 500)
    assert sums_of(BASE, prior, RATED, memory) is None
