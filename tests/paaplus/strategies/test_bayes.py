"""The closed form against scikit-learn, against refits without one rating, and against any history of the log."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.optimize import minimize

from paaplus.errors import InvalidInput, TrainingStopped
from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring.priors import OwnPrior, TastePrior, design
from paaplus.strategies import bayes
from paaplus.training import train
from tests.support.learning import base_of, comparisons, first_request, next_request, none_of, person, ratings
from tests.support.tiny import tiny_base

# The regression itself: tests/paaplus/scoring/test_posterior.py.


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
@pytest.mark.slow
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


def _minus_log_posterior(base, compared: ComparedSet, weight_P: np.ndarray) -> float:
    """Of comparisons alone, aspect 0, written out from the model's definition (Rao-Kupper, theta = 2)."""
    prior_sd_P = np.array([base.offset_sd_A[0], base.slope_sd_A[0], *[base.prior_sd_A[0]] * base.taste_dim])
    scores = []
    for taste_CR, generic_CA in (
        (compared.first_taste_CR, compared.first_generic_CA),
        (compared.second_taste_CR, compared.second_generic_CA),
    ):
        generic_C = generic_CA[:, 0].astype(np.float64)
        scores.append(generic_C + weight_P[0] + weight_P[1] * (generic_C - 5.0) + taste_CR @ weight_P[2:])
    odds_C = np.exp((scores[0] - scores[1]) / (np.sqrt(6) / np.pi * float(base.noise_sd_A[0])))
    preference_C = compared.preference_CA[:, 0]
    first_C, second_C = odds_C / (odds_C + 2.0), 1.0 / (1.0 + 2.0 * odds_C)
    likelihood_C = np.select([preference_C == 1, preference_C == 0], [first_C, second_C], 1.0 - first_C - second_C)
    return float(0.5 * np.square(weight_P / prior_sd_P).sum() - np.log(likelihood_C).sum())


def test_comparisons_alone_give_the_mode_of_their_posterior() -> None:
    base = base_of(1)
    compared = comparisons(base, person(base), 25)
    assert set(np.unique(compared.preference_CA)) == {0.0, 0.5, 1.0}
    request = replace(
        first_request("bayes", "taste_vector", base, ratings(base, person(base), 0)), new_compared=compared
    )
    adapter = train(request).adapter
    found = minimize(
        lambda weight_P: _minus_log_posterior(base, compared, weight_P),
        np.zeros(base.taste_dim + 2),
        method="BFGS",
        options={"gtol": 1e-8},
    )
    np.testing.assert_allclose(adapter.weight_RA[:, 0], found.x[2:], atol=2e-4)
    assert adapter.alpha_A[0] == pytest.approx(1.0 + found.x[1], abs=2e-4)


def test_comparisons_beside_ratings_teach_more_than_ratings_alone() -> None:
    base, taste = base_of(1), person(base_of(1))
    few = ratings(base, taste, 5, missing=0.0, noise=1.0)
    unseen = ratings(base, taste, 400, first_sequence=1000, missing=0.0, noise=0.0)
    alone = first_request("bayes", "taste_vector", base, few)
    both = replace(alone, new_compared=comparisons(base, taste, 60, first_sequence=100))
    correlations = [
        np.corrcoef(train(request).adapter.score(unseen.taste_NR, unseen.generic_NA)[:, 0], unseen.target_NA[:, 0])[
            0, 1
        ]
        for request in (alone, both)
    ]
    assert correlations[1] > correlations[0] + 0.05


def test_any_split_of_ratings_and_comparisons_gives_the_same_bytes() -> None:
    base = base_of(2)
    rated, compared = ratings(base, person(base), 12), comparisons(base, person(base), 12, first_sequence=50)
    at_once = replace(first_request("bayes", "taste_vector", base, rated), new_compared=compared)
    cut_N, cut_C = np.arange(12) < 4, np.arange(12) < 9
    apart = replace(
        at_once,
        past=rated.select(cut_N),
        new=rated.select(~cut_N),
        past_compared=compared.select(cut_C),
        new_compared=compared.select(~cut_C),
    )
    assert train(apart).adapter.digest == train(at_once).adapter.digest


def test_uncertainty_is_the_posterior_variance_where_every_direction_is_kept() -> None:
    base = base_of(1)
    rated = ratings(base, person(base), 7, missing=0.0)
    image = ratings(base, person(base), 5, first_sequence=90, missing=0.0)
    adapter = train(first_request("bayes", "taste_vector", base, rated)).adapter
    prior = OwnPrior(base)
    seen_NP, image_BP = (design(part.taste_NR, part.generic_NA[:, 0]) for part in (rated, image))
    prior_PP = np.diag(np.array([base.offset_sd_A[0], base.slope_sd_A[0], *[base.prior_sd_A[0]] * base.taste_dim]) ** 2)
    noise = float(base.noise_sd_A[0]) ** 2
    covariance_PP = np.linalg.inv(np.linalg.inv(prior_PP) + seen_NP.T @ seen_NP / noise)
    expected_B = np.einsum("bp,pq,bq->b", image_BP, covariance_PP, image_BP)
    found_B = adapter.uncertainty.score_variance(prior.coordinates(image_BP, 0), 0)
    np.testing.assert_allclose(found_B, expected_B, rtol=1e-4)
    assert adapter.uncertainty.rating_noise_sd_A[0] == pytest.approx(np.sqrt(noise))


def test_a_taste_vector_with_its_uncertainty_is_at_most_a_thousand_numbers() -> None:
    tiny = tiny_base()
    wide = {"components_DP": np.eye(12, 256), "anchors_TP": np.empty((0, 256)), "map_QR": np.eye(256)}
    wide |= {"shift_R": np.zeros(256), "head_weight_RA": np.ones((256, 1))}
    base = replace(tiny, **{name: array.astype(np.float32) for name, array in wide.items()})
    trained = train(first_request("bayes", "taste_vector", base, ratings(base, person(base), 40)))
    assert 700 < sum(array.size for array in trained.adapter.arrays().values()) <= 1000


def test_a_learned_prior_moves_the_fit_to_where_its_people_are() -> None:
    base = base_of(1)
    num_regressors = base.taste_dim + 2
    rng = np.random.default_rng(3)
    prior = TastePrior(
        base.digest,
        mean_PA=rng.normal(0, 0.2, (num_regressors, 1)).astype(np.float32),
        factor_PKA=rng.normal(0, 1, (num_regressors, 3, 1)).astype(np.float32),
        noise_sd_A=np.array([0.7], np.float32),
    )
    rated = ratings(base, person(base), 9, missing=0.0)
    adapter = train(replace(first_request("bayes", "taste_vector", base, rated), prior=prior)).adapter
    # the same by the usual conjugate formulas in the space of weights
    design_NP = design(rated.taste_NR, rated.generic_NA[:, 0])
    factor_PK = prior.factor_PKA[:, :, 0].astype(np.float64)
    mean_P, covariance_PP = prior.mean_PA[:, 0].astype(np.float64), factor_PK @ factor_PK.T
    gain_PN = covariance_PP @ design_NP.T @ np.linalg.inv(design_NP @ covariance_PP @ design_NP.T + 0.49 * np.eye(9))
    residual_N = rated.target_NA[:, 0] - rated.generic_NA[:, 0] - design_NP @ mean_P
    expected_P = mean_P + gain_PN @ residual_N
    np.testing.assert_allclose(adapter.weight_RA[:, 0], expected_P[2:], atol=1e-4)
    assert adapter.alpha_A[0] == pytest.approx(1.0 + expected_P[1], abs=1e-4)
    assert adapter.uncertainty.prior_digest == prior.digest


def test_a_prior_of_another_base_model_is_refused() -> None:
    base = base_of(1)
    prior = TastePrior(
        "0" * 64,
        np.zeros((base.taste_dim + 2, 1), np.float32),
        np.ones((base.taste_dim + 2, 1, 1), np.float32),
        np.ones(1, np.float32),
    )
    request = replace(first_request("bayes", "taste_vector", base, ratings(base, person(base), 3)), prior=prior)
    with pytest.raises(InvalidInput, match="prior"):
        train(request)
