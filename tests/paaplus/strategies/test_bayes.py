"""The closed form against scikit-learn, against refits without one rating, and against any history of the log."""

from __future__ import annotations

import time
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.linear_model import Ridge

from paaplus.errors import TrainingStopped
from paaplus.records import RatedSet
from paaplus.strategies import bayes
from paaplus.strategies.bayes import posterior_mean
from paaplus.training import train
from tests.learning import base_of, first_request, next_request, none_of, person, ratings


def problem(num_rows: int, num_regressors: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(num_rows)
    design_NP = rng.normal(size=(num_rows, num_regressors))
    target_N = design_NP @ rng.normal(size=num_regressors) + rng.normal(size=num_rows)
    return design_NP, target_N, rng.uniform(0.2, 2.0, num_regressors), rng.uniform(0.5, 2.0, num_rows)


@pytest.mark.parametrize("num_rows", [1, 3, 4, 5, 6, 40])  # fewer rows than regressors: the dual; more: the primal
def test_posterior_mean_is_ridge_regression(num_rows: int) -> None:
    design_NP, target_N, prior_sd_P, noise_sd_N = problem(num_rows)
    # ridge in units of the prior: a penalty of 1 on weights of unit prior variance
    ridge = Ridge(alpha=1.0, fit_intercept=False, solver="cholesky")
    ridge.fit(design_NP * prior_sd_P, target_N, sample_weight=noise_sd_N**-2.0)
    mean_P, _ = posterior_mean(design_NP, target_N, prior_sd_P, noise_sd_N)
    np.testing.assert_allclose(mean_P, ridge.coef_ * prior_sd_P, rtol=1e-9)


@pytest.mark.parametrize("num_rows", [1, 3, 5, 6, 40])
def test_leave_one_out_is_a_fit_without_that_row(num_rows: int) -> None:
    design_NP, target_N, prior_sd_P, noise_sd_N = problem(num_rows)
    _, loo_N = posterior_mean(design_NP, target_N, prior_sd_P, noise_sd_N)
    for n in range(num_rows):
        rest = np.arange(num_rows) != n
        mean_P, _ = posterior_mean(design_NP[rest], target_N[rest], prior_sd_P, noise_sd_N[rest])
        assert loo_N[n] == pytest.approx(design_NP[n] @ mean_P, abs=1e-9)


def test_posterior_mean_is_the_prior_when_there_are_no_rows() -> None:
    mean_P, loo_N = posterior_mean(np.empty((0, 3)), np.empty(0), np.ones(3), np.empty(0))
    assert np.array_equal(mean_P, np.zeros(3))
    assert loo_N.shape == (0,)


def test_fit_scores_as_the_regression_says() -> None:
    base = base_of(1)
    rated = ratings(base, person(base), 20, missing=0.0)
    adapter = train(first_request("bayes", "taste_vector", base, rated)).adapter
    # by the normal equations, written out
    design_NP = np.column_stack([np.ones(20), rated.generic_NA[:, 0] - 5.0, rated.taste_NR]).astype(np.float64)
    precision_P = np.array([base.offset_sd_A[0], base.slope_sd_A[0], *[base.prior_sd_A[0]] * base.taste_dim]) ** -2.0
    noise = float(base.noise_sd_A[0]) ** 2
    residual_N = (rated.target_NA - rated.generic_NA)[:, 0].astype(np.float64)
    mean_P = np.linalg.solve(design_NP.T @ design_NP / noise + np.diag(precision_P), design_NP.T @ residual_N / noise)
    assert adapter.alpha_A[0] == pytest.approx(1.0 + mean_P[1], abs=1e-6)
    assert adapter.beta_A[0] == pytest.approx(mean_P[0] - 5.0 * mean_P[1], abs=1e-5)
    np.testing.assert_allclose(adapter.weight_RA[:, 0], mean_P[2:], atol=1e-6)
    expected_N = np.clip(rated.generic_NA[:, 0] + design_NP @ mean_P, 0, 10)
    np.testing.assert_allclose(adapter.score(rated.taste_NR, rated.generic_NA)[:, 0], expected_N, atol=1e-5)


@pytest.mark.parametrize("count", [5, 60])
def test_loo_scores_are_those_of_training_without_the_rating(count: int) -> None:
    base = base_of(2)
    rated = ratings(base, person(base), count)
    request = first_request("bayes", "taste_vector", base, rated)
    loo_NA = train(request).loo_NA
    assert np.array_equal(np.isnan(loo_NA), np.isnan(rated.target_NA))
    for n in (0, count // 2, count - 1):
        without = train(replace(request, new=rated.select(np.arange(count) != n))).adapter
        row = rated.select(np.arange(count) == n)
        expected_A = without.score(row.taste_NR, row.generic_NA)[0]
        seen_A = ~np.isnan(loo_NA[n])
        np.testing.assert_allclose(loo_NA[n][seen_A], expected_A[seen_A], atol=1e-5)


def test_loo_rows_are_past_and_new_in_order_of_sequence() -> None:
    base = base_of(1)
    rated = ratings(base, person(base), 12, missing=0.0)
    request = first_request("bayes", "taste_vector", base, rated)
    even = np.arange(12) % 2 == 0
    mixed = replace(request, past=rated.select(even), new=rated.select(~even))
    assert np.array_equal(train(mixed).loo_NA, train(request).loo_NA)


def test_a_rating_of_weight_two_counts_like_the_same_rating_twice() -> None:
    base = base_of(1)
    rated = ratings(base, person(base), 10, missing=0.0)
    double = replace(rated, weight_N=np.where(np.arange(10) == 3, 2.0, 1.0).astype(np.float32))
    again = rated.select(np.arange(10) == 3)
    twice = RatedSet.concatenate(rated, replace(again, sequence_N=np.array([99])))
    expected = train(first_request("bayes", "taste_vector", base, twice)).adapter
    actual = train(first_request("bayes", "taste_vector", base, double)).adapter
    np.testing.assert_allclose(actual.weight_RA, expected.weight_RA, atol=1e-6)
    np.testing.assert_allclose(actual.beta_A, expected.beta_A, atol=1e-5)


def test_a_rating_of_weight_zero_counts_like_none() -> None:
    base = base_of(1)
    rated = ratings(base, person(base), 10, missing=0.0)
    muted = replace(rated, weight_N=(np.arange(10) != 3).astype(np.float32))
    trained = train(first_request("bayes", "taste_vector", base, muted))
    without = train(first_request("bayes", "taste_vector", base, rated.select(np.arange(10) != 3)))
    assert trained.adapter.digest == without.adapter.digest
    assert np.isnan(trained.loo_NA[3]).all()


def test_an_aspect_learns_only_from_ratings_of_it() -> None:
    base = base_of(2)
    rated = ratings(base, person(base), 15, missing=0.4)
    trained = train(first_request("bayes", "taste_vector", base, rated)).adapter
    other = rated.target_NA.copy()
    other[:, 1] = np.nan
    alone = train(first_request("bayes", "taste_vector", base, replace(rated, target_NA=other))).adapter
    assert np.array_equal(trained.weight_RA[:, 0], alone.weight_RA[:, 0])
    assert np.array_equal(alone.weight_RA[:, 1], np.zeros(base.taste_dim))
    assert (alone.alpha_A[1], alone.beta_A[1]) == (1.0, 0.0)


def test_no_ratings_at_all_give_the_generic_scores() -> None:
    base = base_of(2)
    rated = ratings(base, person(base), 4)
    trained = train(first_request("bayes", "taste_vector", base, none_of(rated)))
    assert np.array_equal(trained.adapter.score(rated.taste_NR, rated.generic_NA), rated.generic_NA)
    assert trained.loo_NA.shape == (0, 2)


event = st.tuples(st.sampled_from(["rate", "retract"]), st.integers(0, 5), st.floats(0, 10, width=32))


@settings(max_examples=60)
@given(chunks=st.lists(st.lists(event, max_size=6), min_size=1, max_size=4))
def test_any_history_of_a_log_gives_the_fit_of_what_is_left(chunks: list[list[tuple[str, int, float]]]) -> None:
    base = base_of(1)
    taste_IR = ratings(base, person(base), 6).taste_NR
    latest: dict[int, tuple[int, float]] = {}  # image: sequence of the latest word, value
    sequence, learned_up_to, trained = 0, 0, None

    def rated(low: int, high: int) -> RatedSet:
        words = sorted((s, image, value) for image, (s, value) in latest.items() if low < s <= high)
        images = [image for _, image, _ in words]
        values = np.array([[value] for _, _, value in words]).reshape(-1, 1)
        return RatedSet.of([s for s, _, _ in words], taste_IR[images], np.full((len(words), 1), 5.0), values)

    request = first_request("bayes", "taste_vector", base, rated(0, 0))
    for chunk in chunks:
        for kind, image, value in chunk:
            sequence += 1
            if kind == "rate":
                latest[image] = (sequence, value)
            else:
                latest.pop(image, None)
        request = replace(request, past=rated(0, learned_up_to), new=rated(learned_up_to, sequence))
        trained = train(replace(request, parent=trained and trained.adapter, state=trained and trained.state))
        learned_up_to = sequence
    at_once = train(first_request("bayes", "taste_vector", base, rated(0, sequence)))
    assert trained.adapter.digest == at_once.adapter.digest
    assert trained.state == at_once.state


def test_increments_do_not_change_the_bytes() -> None:
    base = base_of(2)
    rated = ratings(base, person(base), 30)
    request = first_request("bayes", "taste_vector", base, rated.select(np.arange(30) < 10))
    trained = train(request)
    trained = train(next_request(request, trained, rated.select(np.arange(30) >= 10)))
    assert trained.adapter.digest == train(first_request("bayes", "taste_vector", base, rated)).adapter.digest


def test_fit_stops_when_asked() -> None:
    base = base_of(1)
    request = first_request("bayes", "taste_vector", base, ratings(base, person(base), 3))
    with pytest.raises(TrainingStopped, match="before the first step"):
        bayes.fit(request, should_stop=lambda: True)


def test_an_update_takes_under_five_milliseconds_with_a_hundred_ratings() -> None:
    rng = np.random.default_rng(0)
    design_NP, target_N = rng.normal(size=(100, 258)), rng.normal(size=100)
    times_s = []
    for _ in range(20):
        start_s = time.perf_counter()
        posterior_mean(design_NP, target_N, np.ones(258), np.ones(100))
        times_s.append(time.perf_counter() - start_s)
    assert min(times_s) < 0.005
