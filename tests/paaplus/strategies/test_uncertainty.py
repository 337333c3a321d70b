"""How sure taste vectors are that were trained in steps: like the closed form, around their own weights.

Shape letters: N = rated images, K = coordinates of the base model's prior, A = aspects.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paaplus.configs import TrainingConfig
from paaplus.records import RatedSet
from paaplus.scoring.adapters import TasteVector
from paaplus.scoring.priors import OwnPrior, design
from paaplus.scoring.tensors import unpack
from paaplus.strategies.parameters import parameters_of
from paaplus.training import Trained, TrainingRequest, train
from tests.support.learning import (
    STEP_PAIRS,
    base_of,
    comparisons,
    first_request,
    next_request,
    none_of,
    person,
    ratings,
    taste_of,
)

BASE = base_of(2)
PRIOR = OwnPrior(BASE)
LONG = TrainingConfig(num_steps=600, batch_size=64, replay_batch_size=64, learning_rate=0.1)
SHOWN = ratings(BASE, person(BASE), 50, seed=8)
FIRST, SECOND = ratings(BASE, person(BASE), 30), ratings(BASE, person(BASE, 1), 12, first_sequence=40)


def sds(adapter: TasteVector, shown: RatedSet = SHOWN) -> np.ndarray:
    """Predictive standard deviation of every score, shape (N, A)."""
    columns = []
    for a in range(len(BASE.aspects)):
        coordinate_NK = PRIOR.coordinates(design(shown.taste_NR, shown.generic_NA[:, a]), a)
        columns.append(np.sqrt(adapter.uncertainty.score_variance(coordinate_NK, a)))
    return np.column_stack(columns)


def assert_same_evidence(trained: Trained, exact: Trained) -> None:
    np.testing.assert_allclose(sds(trained.adapter), sds(exact.adapter), rtol=1e-3)
    np.testing.assert_allclose(trained.loo_NA, exact.loo_NA, atol=0.03)


@pytest.mark.parametrize("strategy", ["naive", "joint", "replay_ewc"])
@pytest.mark.slow
def test_trained_long_enough_the_evidence_is_that_of_the_closed_form(strategy: str) -> None:
    compared = comparisons(BASE, person(BASE), 9, first_sequence=100)
    request = replace(first_request(strategy, "taste_vector", BASE, FIRST, LONG), new_compared=compared)
    assert_same_evidence(train(request), train(replace(request, strategy="bayes")))


@pytest.mark.parametrize("strategy", ["replay", "cumulative", "joint"])
@pytest.mark.slow
def test_after_increments_too_where_the_training_stood_for_all_of_them(strategy: str) -> None:
    first = first_request(strategy, "taste_vector", BASE, FIRST, LONG)
    second = next_request(first, train(first), SECOND)
    assert_same_evidence(train(second), train(replace(second, strategy="bayes", parent=None, state=None)))


@pytest.mark.slow
def test_a_stronger_prior_makes_surer_by_as_much_as_a_narrower_one() -> None:
    request = first_request("naive", "taste_vector", BASE, FIRST, replace(LONG, prior_strength=4.0))
    half = replace(
        BASE,
        **{f"{name}_sd_A": np.asarray(getattr(BASE, f"{name}_sd_A")) / 2 for name in ("prior", "offset", "slope")},
    )
    narrow = train(replace(request, strategy="bayes", base=half))
    columns = []
    for a in range(2):
        coordinate_NK = OwnPrior(half).coordinates(design(SHOWN.taste_NR, SHOWN.generic_NA[:, a]), a)
        columns.append(np.sqrt(narrow.adapter.uncertainty.score_variance(coordinate_NK, a)))
    trained = train(request)
    np.testing.assert_allclose(sds(trained.adapter), np.column_stack(columns), rtol=1e-3)
    np.testing.assert_allclose(trained.loo_NA, narrow.loo_NA, atol=0.03)


def stood_for(request: TrainingRequest) -> RatedSet:
    """The ratings that a training with a buffer stands for."""
    arrays, _ = unpack(request.state)
    kept = np.isin(request.past.sequence_N, arrays.get("buffer_sequence_K", []))
    return RatedSet.concatenate(request.past.select(kept), request.new)


@pytest.mark.parametrize("strategy", ["ewc", "si", "mas", "replay_ewc"])
def test_penalties_hold_as_much_as_they_weigh(strategy: str) -> None:
    """Against whole matrices: precision of prior, penalty and rows, and residuals at the trained weights."""
    config = TrainingConfig(
        num_steps=20, buffer_size=10, ewc_lambda=0.7, si_lambda=0.7, mas_lambda=0.7, prior_strength=1.5
    )
    first = first_request(strategy, "taste_vector", BASE, FIRST, config)
    second = next_request(first, train(first), SECOND)
    trained, rated = train(second), stood_for(second)
    everything = RatedSet.concatenate(second.past, second.new)
    arrays, _ = unpack(second.state)
    prefix = {"ewc": "fisher", "si": "path", "mas": "mas", "replay_ewc": "fisher"}[strategy]
    at = parameters_of(trained.adapter, BASE, {})
    stood_for_N = np.isin(everything.sequence_N, rated.sequence_N)
    assert np.isnan(trained.loo_NA[~stood_for_N]).all()
    for a in range(2):
        named = [
            (each["offset.weight"][a], each["slope.weight"][a], *each["weight.weight"][a])
            for each in (at, {name: arrays[f"{prefix}.{name}"] for name in at})
        ]
        weight_K, importance_K = np.array(named[0], np.float64), np.array(named[1], np.float64)
        used = rated.select(~np.isnan(rated.target_NA[:, a]))
        noise_sd = float(BASE.noise_sd_A[a])
        row_NK = PRIOR.coordinates(design(used.taste_NR, used.generic_NA[:, a]), a) / noise_sd
        left_N = (used.target_NA[:, a] - used.generic_NA[:, a]) / noise_sd - row_NK @ weight_K
        covariance_KK = np.linalg.inv(np.diag(1.5 + 0.7 * importance_K) + row_NK.T @ row_NK)
        leverage_N = np.einsum("nk,kj,nj->n", row_NK, covariance_KK, row_NK)
        expected_N = used.target_NA[:, a] - noise_sd * left_N / (1 - leverage_N)
        found_N = trained.loo_NA[np.isin(everything.sequence_N, used.sequence_N), a]
        np.testing.assert_allclose(found_N, np.clip(expected_N, 0, 10), atol=1e-3)
        shown_NK = PRIOR.coordinates(design(SHOWN.taste_NR, SHOWN.generic_NA[:, a]), a)
        sd_N = np.sqrt(np.einsum("nk,kj,nj->n", shown_NK, covariance_KK, shown_NK))
        np.testing.assert_allclose(sds(trained.adapter)[:, a], sd_N, rtol=1e-3)


def test_soft_targets_make_surer() -> None:
    for strategy, setting in (("distillation", "distillation_pool"), ("derpp", "derpp_alpha")):
        first = first_request(strategy, "taste_vector", BASE, FIRST, TrainingConfig(num_steps=20))
        second = next_request(first, train(first), SECOND)
        without = replace(second, config=replace(second.config, **{setting: 0.0}))
        assert sds(train(second).adapter).mean() < 0.95 * sds(train(without).adapter).mean()


def test_with_nothing_new_the_evidence_is_of_what_is_left() -> None:
    first = first_request("replay", "taste_vector", BASE, FIRST, TrainingConfig(num_steps=20))
    nothing_new = next_request(first, train(first), none_of(SECOND))
    fewer = replace(nothing_new, past=FIRST.select(np.arange(30) >= 15))
    assert sds(train(fewer).adapter).mean() > 1.05 * sds(train(nothing_new).adapter).mean()
    assert np.isfinite(train(fewer).loo_NA).any()


@pytest.mark.parametrize(("strategy", "kind"), STEP_PAIRS)
def test_every_taste_vector_has_evidence_and_no_bottleneck_has(strategy: str, kind: str) -> None:
    config = TrainingConfig(num_steps=5, rank=6)
    trained = train(first_request(strategy, kind, BASE, FIRST, config))
    if kind == "bottleneck":
        assert trained.loo_NA is None
        return
    assert trained.adapter.uncertainty.prior_digest is None
    rated_NA = ~np.isnan(FIRST.target_NA)
    assert np.array_equal(np.isfinite(trained.loo_NA), rated_NA)
    assert sum(each.size for each in trained.adapter.arrays().values()) <= 1000
    without_prior = first_request(strategy, kind, BASE, FIRST, replace(config, prior_strength=0.0))
    assert train(without_prior).adapter.uncertainty is None


def test_center_that_nobody_has_rated_against_is_as_sure_as_it_was() -> None:
    center = taste_of(BASE, person(BASE))
    request = replace(first_request("replay", "taste_vector", BASE, none_of(FIRST), LONG), center=center)
    assert train(request).adapter.uncertainty is None
