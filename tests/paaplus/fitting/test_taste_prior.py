"""A fitted taste prior against the distribution of its simulated people."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.fitting.taste_prior import fit_taste_prior
from paaplus.records import RatedSet
from paaplus.scoring.priors import OwnPrior, TastePrior, design
from tests.support.tiny import tiny_base

TRUE_MEAN_P = np.array([0.8, 0.1, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0])


def simulated(num_people: int = 120, num_ratings: int = 60, seed: int = 0) -> tuple[list[RatedSet], np.ndarray]:
    """People whose weights vary along two directions only, around a mean; and the true covariance of the weights."""
    rng = np.random.default_rng(seed)
    direction_2P = np.zeros((2, 8))
    direction_2P[0, [0, 3]], direction_2P[1, [4, 5]] = [1.0, 2.0], [3.0, -3.0]
    people = []
    for _ in range(num_people):
        taste_NR = rng.normal(size=(num_ratings, 6)).astype(np.float32) / np.sqrt(6)
        generic_NA = rng.uniform(4, 6, (num_ratings, 1)).astype(np.float32)
        weight_P = TRUE_MEAN_P + rng.normal(size=2) @ direction_2P
        residual_N = design(taste_NR, generic_NA[:, 0]) @ weight_P + 0.5 * rng.normal(size=num_ratings)
        target_NA = generic_NA + residual_N[:, None].astype(np.float32)
        people.append(RatedSet.of(np.arange(1, num_ratings + 1), taste_NR, generic_NA, target_NA))
    return people, direction_2P.T @ direction_2P


@cache
def fitted(num_people: int) -> tuple[TastePrior, dict[str, object]]:
    """Prior and metrics of simulated people, fitted once for all tests."""
    return fit_taste_prior(tiny_base(), simulated(num_people)[0])


@pytest.mark.slow
def test_prior_finds_the_mean_and_the_directions_of_its_people():
    base = tiny_base()
    people, true_PP = simulated()
    prior, metrics = fit_taste_prior(base, people)
    found_PP = prior.factor_PKA[:, :, 0] @ prior.factor_PKA[:, :, 0].T
    np.testing.assert_allclose(prior.mean_PA[:, 0], TRUE_MEAN_P, atol=0.6)  # 120 people, sds up to 3
    assert np.corrcoef(found_PP.ravel(), true_PP.ravel())[0, 1] > 0.97
    assert metrics["num_people"] == 120
    assert metrics["fitted_noise_sd"][0] == pytest.approx(0.5, rel=0.1)
    assert prior.fits(base)


def test_noise_is_never_below_the_base_models():
    base = tiny_base()
    prior, _ = fitted(60)
    assert prior.noise_sd_A[0] >= base.noise_sd_A[0]


@pytest.mark.slow
def test_rank_bounds_the_coordinates_and_the_report_has_the_share_that_is_kept():
    people = simulated(60)[0]
    narrow, metrics = fit_taste_prior(tiny_base(), people, rank=2)
    wide, all_metrics = fitted(60)
    assert (narrow.num_coordinates, wide.num_coordinates) == (2, 8)
    assert 0.8 < metrics["explained"][0] < all_metrics["explained"][0] <= 1.0


@pytest.mark.slow
def test_same_people_give_the_same_digest():
    people = simulated(60)[0]
    assert fit_taste_prior(tiny_base(), people)[0].digest == fitted(60)[0].digest


def test_fewer_than_fifty_people_are_too_few():
    with pytest.raises(InvalidInput, match="49 people rated 'beauty'; a taste prior needs 50"):
        fit_taste_prior(tiny_base(), simulated(49)[0])


def test_bytes_round_trip_and_other_bytes_are_refused():
    prior, _ = fitted(50)
    again = TastePrior.from_bytes(prior.to_bytes())
    assert again.digest == prior.digest
    point_BP = np.random.default_rng(0).normal(size=(3, 8))
    np.testing.assert_array_equal(again.coordinates(point_BP, 0), prior.coordinates(point_BP, 0))
    with pytest.raises(InvalidInput, match="not a taste prior"):
        TastePrior.from_bytes(tiny_base().to_bytes())


@pytest.mark.parametrize(
    "change",
    [
        {"noise_sd_A": np.zeros(1)},
        {"noise_sd_A": np.ones(2)},
        {"mean_PA": np.full((8, 1), np.nan)},
        {"factor_PKA": np.ones((8, 3))},
        {"mean_PA": np.ones((7, 1))},
    ],
)
def test_invalid_prior_is_refused(change):
    arrays = {"mean_PA": np.zeros((8, 1)), "factor_PKA": np.ones((8, 3, 1)), "noise_sd_A": np.ones(1)}
    with pytest.raises(InvalidInput, match="taste prior"):
        TastePrior("0" * 64, **(arrays | change))


def test_coordinates_of_an_image_do_not_depend_on_its_batch():
    prior, _ = fitted(50)
    point_BP = np.random.default_rng(1).normal(size=(7, 8))
    for each in (prior, OwnPrior(tiny_base())):
        together = each.coordinates(point_BP, 0)
        alone = np.concatenate([each.coordinates(point_BP[b : b + 1], 0) for b in range(7)])
        np.testing.assert_array_equal(together, alone)
