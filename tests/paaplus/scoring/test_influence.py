"""Influence of ratings: the same as fitting again without each of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring import closed_form, influence
from paaplus.scoring.priors import OwnPrior, design
from tests.support.learning import base_of, comparisons, none_of, person, ratings

BASE = base_of(1)
TASTE = person(BASE, 1)
PRIOR = OwnPrior(BASE)
OTHERS = ratings(BASE, TASTE, 12, missing=0.0, seed=9)  # images whose scores are looked at


def influences(rated: RatedSet, compared: ComparedSet) -> np.ndarray:
    return influence.of_ratings(rated, compared, PRIOR, 0, OTHERS.taste_NR, OTHERS.generic_NA[:, 0])


def scores(rated: RatedSet, compared: ComparedSet) -> np.ndarray:
    """Scores before they are clipped, worked out from the whole posterior."""
    mean_K = closed_form.posterior_of(rated, compared, PRIOR, 0).mean_K
    return PRIOR.coordinates(design(OTHERS.taste_NR, OTHERS.generic_NA[:, 0]), 0) @ mean_K


@pytest.mark.parametrize("count", [3, 40])
def test_influence_is_the_change_of_a_fit_without_the_rating(count: int) -> None:
    rated = ratings(BASE, TASTE, count, missing=0.0)
    nothing = none_of(comparisons(BASE, TASTE, 1))
    found_BN = influences(rated, nothing)
    for place in range(count):
        weight_N = rated.weight_N.copy()
        weight_N[place] = 0.0
        change_B = scores(rated, nothing) - scores(replace(rated, weight_N=weight_N), nothing)
        np.testing.assert_allclose(found_BN[:, place], change_B, atol=1e-8)
    assert np.abs(found_BN).max() > 0.01


def test_beside_comparisons_the_influence_is_close_to_that_of_a_new_fit() -> None:
    rated, compared = ratings(BASE, TASTE, 20, missing=0.0), comparisons(BASE, TASTE, 20, first_sequence=100)
    found_BN = influences(rated, compared)
    weight_N = rated.weight_N.copy()
    weight_N[4] = 0.0
    change_B = scores(rated, compared) - scores(replace(rated, weight_N=weight_N), compared)
    np.testing.assert_allclose(found_BN[:, 4], change_B, atol=0.15 * np.abs(change_B).max())


def test_ratings_that_do_not_count_and_no_ratings_move_nothing() -> None:
    rated = ratings(BASE, TASTE, 6, missing=0.0)
    target_NA = rated.target_NA.copy()
    target_NA[2] = np.nan
    nothing = none_of(comparisons(BASE, TASTE, 1))
    found_BN = influences(replace(rated, target_NA=target_NA), nothing)
    assert not found_BN[:, 2].any()
    assert found_BN[:, [0, 1, 3, 4, 5]].any(0).all()
    assert influences(none_of(rated), nothing).shape == (12, 0)
