"""Training around somebody's taste instead of around no change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.scoring.adapters import Adapter, TasteVector
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import OwnPrior, ShiftedPrior, design
from paaplus.strategies.parameters import adapter_of, parameters_of, start_of
from paaplus.training import TrainingRequest, train
from tests.support.learning import (
    SMALL,
    STEP_PAIRS,
    base_of,
    first_request,
    none_of,
    person,
    ratings,
    taste_of,
)

BASE = base_of(2)
QUICK = replace(SMALL, num_steps=8)
CENTER = taste_of(BASE, 0.5 * person(BASE, seed=3), offset=0.4, slope=-0.2)
FIRST = ratings(BASE, person(BASE), 24)
SHOWN = ratings(BASE, person(BASE), 200, seed=8)
every_step_pair = pytest.mark.parametrize(("strategy", "kind"), STEP_PAIRS)


def request_around(center: TasteVector | None, strategy: str, kind: str) -> TrainingRequest:
    return replace(first_request(strategy, kind, BASE, FIRST, QUICK), center=center)


def scores(adapter: Adapter, base: BaseScorer = BASE) -> np.ndarray:
    return adapter.score(SHOWN.taste_NR, SHOWN.generic_NA)


def distance(adapter: Adapter, other: Adapter) -> float:
    return float(np.abs(scores(adapter) - scores(other)).mean())


@every_step_pair
def test_with_nothing_said_the_scores_are_the_centers(strategy: str, kind: str) -> None:
    request = replace(request_around(CENTER, strategy, kind), new=none_of(FIRST))
    adapter = train(request).adapter
    if kind == "taste_vector":
        assert adapter.digest == CENTER.digest
    else:
        delta = np.abs(CENTER.delta(SHOWN.taste_NR)).mean()
        assert distance(adapter, CENTER) < 0.1 * delta


@every_step_pair
def test_ratings_of_no_aspect_leave_the_center(strategy: str, kind: str) -> None:
    silent = replace(FIRST, target_NA=np.full_like(FIRST.target_NA, np.nan))
    adapter = train(replace(request_around(CENTER, strategy, kind), new=silent)).adapter
    start = adapter_of(start_of(kind, BASE, QUICK.rank, CENTER), BASE)
    np.testing.assert_allclose(scores(adapter), scores(start), atol=1e-5)


@every_step_pair
def test_ratings_move_the_scores_away_from_the_center_and_towards_the_answers(strategy: str, kind: str) -> None:
    config = replace(SMALL, num_steps=60)
    new = ratings(BASE, person(BASE), 60)
    trained = train(replace(first_request(strategy, kind, BASE, new, config), center=CENTER))
    before, after = (np.nanmean((scores(a) - SHOWN.target_NA) ** 2) for a in (CENTER, trained.adapter))
    assert after < 0.6 * before


@pytest.mark.parametrize("kind", ["taste_vector", "bottleneck"])
@pytest.mark.slow
def test_the_penalty_counts_from_the_center(kind: str) -> None:
    """A prior that weighs very much holds the scores at the centre, not at the generic score."""
    start = adapter_of(start_of(kind, BASE, QUICK.rank, CENTER), BASE)
    few = replace(request_around(CENTER, "joint", kind), new=FIRST.select(np.arange(3)))
    held, free = (
        train(replace(few, config=replace(SMALL, num_steps=100, prior_strength=strength))).adapter
        for strength in (1000.0, 1.0)
    )
    assert distance(held, start) < 0.6 * distance(free, start)


@every_step_pair
def test_the_same_request_gives_the_same_bytes_and_another_center_others(strategy: str, kind: str) -> None:
    one, two = (train(request_around(CENTER, strategy, kind)) for _ in range(2))
    other = train(request_around(taste_of(BASE, person(BASE, seed=4)), strategy, kind))
    assert (one.adapter.digest, one.state) == (two.adapter.digest, two.state)
    assert other.adapter.digest != one.adapter.digest
    assert train(request_around(None, strategy, kind)).adapter.digest != one.adapter.digest


def test_bottleneck_of_the_default_rank_starts_close_to_the_center() -> None:
    """How near tanh comes to the linear function: the root mean square of what is left, of that of the delta."""
    for num_aspects in (1, 3):
        base = base_of(num_aspects)
        center = taste_of(base, person(base, seed=3))
        taste_NR = ratings(base, person(base), 300, seed=8).taste_NR
        adapter = adapter_of(start_of("bottleneck", base, 16, center), base)
        wanted, found = center.delta(taste_NR), adapter.delta(taste_NR)
        assert np.sqrt(np.square(found - wanted).mean() / np.square(wanted).mean()) < 0.1


def test_zero_parent_of_a_bottleneck_starts_as_without_a_center() -> None:
    zero = adapter_of(start_of("bottleneck", BASE, 6, None), BASE)
    empty = type(zero).zero(BASE.digest, BASE.taste_dim, 2, rank=6)
    around = start_of("bottleneck", BASE, 6, CENTER)
    assert adapter_of(parameters_of(empty, BASE, around), BASE).digest == zero.digest


def test_center_is_refused_where_it_cannot_be_one() -> None:
    with pytest.raises(InvalidInput, match="rank 2 cannot start"):
        train(replace(request_around(CENTER, "replay", "bottleneck"), config=replace(QUICK, rank=2)))
    with pytest.raises(InvalidInput, match="centre of base"):
        train(request_around(replace(CENTER, base_digest="0" * 64), "replay", "taste_vector"))
    with pytest.raises(InvalidInput, match="not finite"):
        train(request_around(replace(CENTER, beta_A=np.full(2, np.nan, np.float32)), "replay", "taste_vector"))
    with pytest.raises(InvalidInput, match="`bayes`"):
        train(request_around(CENTER, "bayes", "taste_vector"))


def test_shifted_prior_moves_the_mean_and_nothing_else() -> None:
    own, rng = OwnPrior(BASE), np.random.default_rng(0)
    shift_PA = rng.normal(size=(BASE.taste_dim + 2, 2))
    shifted = ShiftedPrior(own, shift_PA)
    request = first_request("bayes", "taste_vector", BASE, none_of(FIRST))
    adapter = train(replace(request, prior=shifted)).adapter
    for a in range(2):
        design_NP = design(SHOWN.taste_NR, SHOWN.generic_NA[:, a])
        expected_N = np.clip(SHOWN.generic_NA[:, a] + design_NP @ shift_PA[:, a], 0, 10)
        np.testing.assert_allclose(scores(adapter)[:, a], expected_N, atol=1e-5)
        np.testing.assert_array_equal(shifted.coordinates(design_NP, a), own.coordinates(design_NP, a))
    assert (shifted.digest, shifted.num_coordinates, shifted.fits(BASE)) == (own.digest, own.num_coordinates, True)
    zero = train(replace(request, new=FIRST, prior=ShiftedPrior(own, np.zeros_like(shift_PA))))
    assert zero.adapter.digest == train(replace(request, new=FIRST)).adapter.digest
    for wrong in (shift_PA[1:], shift_PA[:, :1], np.full_like(shift_PA, np.nan)):
        with pytest.raises(InvalidInput, match="shift"):
            ShiftedPrior(own, wrong)
    with pytest.raises(InvalidInput, match="taste prior of base"):
        train(replace(request, prior=ShiftedPrior(OwnPrior(base_of(1)), np.zeros((8, 1)))))
