"""Metrics, compared with values computed by hand and by definition."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from paaplus import metrics
from paaplus.errors import InvalidInput, UndefinedMetric

SCORES = np.array([2.0, 4.0, 4.0, 7.0, 9.0])
RATINGS = np.array([1.0, 3.0, 5.0, 6.0, 6.0])
CORRELATIONS = [metrics.srcc, metrics.plcc, metrics.krcc]
PAIRED = [*CORRELATIONS, metrics.rmse, metrics.mae, metrics.acc]


def test_srcc_is_the_correlation_of_mean_ranks_when_values_are_tied():
    ranks = np.array([1, 2.5, 2.5, 4, 5]), np.array([1, 2, 3, 4.5, 4.5])
    assert metrics.srcc(SCORES, RATINGS) == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_srcc_is_one_when_the_order_agrees_on_different_scales():
    assert metrics.srcc(np.array([1.0, 2.0, 3.0]), np.array([10.0, 1000.0, 1001.0])) == pytest.approx(1.0)
    assert metrics.srcc(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])) == pytest.approx(-1.0)


def test_plcc_is_the_normalised_covariance():
    x, y = SCORES - SCORES.mean(), RATINGS - RATINGS.mean()
    assert metrics.plcc(SCORES, RATINGS) == pytest.approx((x @ y) / np.sqrt((x @ x) * (y @ y)))


def test_krcc_is_tau_b_when_counted_pair_by_pair():
    signs = [(np.sign(SCORES[i] - SCORES[j]), np.sign(RATINGS[i] - RATINGS[j])) for i, j in combinations(range(5), 2)]
    agree = sum(a * b for a, b in signs)
    untied = np.sqrt(sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs))
    assert metrics.krcc(SCORES, RATINGS) == pytest.approx(agree / untied)


def test_rmse_and_mae_by_hand():
    assert metrics.rmse(SCORES, RATINGS) == pytest.approx(np.sqrt((1 + 1 + 1 + 1 + 9) / 5))
    assert metrics.mae(SCORES, RATINGS) == pytest.approx(7 / 5)


def test_acc_counts_agreement_above_the_threshold_and_exactly_on_it_is_not_above():
    assert metrics.acc(np.array([5.0, 5.1, 9.0, 1.0]), np.array([5.0, 4.0, 6.0, 8.0])) == pytest.approx(2 / 4)


@pytest.mark.parametrize("metric", PAIRED)
def test_metric_refuses_when_lengths_differ_or_values_are_not_finite(metric):
    with pytest.raises(InvalidInput, match=r"\(2,\) and ratings \(3,\)"):
        metric(np.array([1.0, 2.0]), np.array([1.0, 2.0, 3.0]))
    for bad in (np.nan, np.inf):
        with pytest.raises(InvalidInput, match="NaN or infinite"):
            metric(np.array([1.0, bad]), np.array([1.0, 2.0]))
    with pytest.raises(InvalidInput):
        metric(np.array([]), np.array([]))


@pytest.mark.parametrize("metric", CORRELATIONS)
def test_correlation_is_undefined_when_one_side_is_constant(metric):
    with pytest.raises(UndefinedMetric, match="3 ratings that are all 5"):
        metric(np.array([1.0, 2.0, 3.0]), np.full(3, 5.0))
    with pytest.raises(UndefinedMetric, match="3 scores that are all 2"):
        metric(np.full(3, 2.0), np.array([1.0, 2.0, 3.0]))
    with pytest.raises(InvalidInput, match="2 or more"):
        metric(np.array([1.0]), np.array([2.0]))


def test_negative_flip_rate_counts_only_right_to_wrong():
    rating = np.array([8.0, 8.0, 2.0, 2.0, 8.0])
    old = np.array([7.0, 7.0, 3.0, 7.0, 3.0])  # right, right, right, wrong, wrong
    new = np.array([7.0, 3.0, 7.0, 3.0, 3.0])  # right, flip, flip, repaired, still wrong
    assert metrics.negative_flip_rate(old, new, rating) == pytest.approx(2 / 5)
    assert metrics.negative_flip_rate(old, old, rating) == 0.0


def test_forgetting_and_bwt_by_hand():
    metric_EE = np.array([[0.5, np.nan, np.nan], [0.6, 0.4, np.nan], [0.3, 0.45, 0.7]])
    assert metrics.forgetting(metric_EE) == pytest.approx(((0.6 - 0.3) + (0.4 - 0.45)) / 2)
    assert metrics.bwt(metric_EE) == pytest.approx(((0.3 - 0.5) + (0.45 - 0.4)) / 2)


@pytest.mark.parametrize("metric", [metrics.forgetting, metrics.bwt])
def test_experience_metrics_refuse_what_is_no_square_or_has_holes(metric):
    with pytest.raises(InvalidInput, match=r"\(1, 1\)"):
        metric(np.array([[0.5]]))
    with pytest.raises(InvalidInput, match=r"\(2, 3\)"):
        metric(np.zeros((2, 3)))
    with pytest.raises(InvalidInput, match="on or below the diagonal"):
        metric(np.array([[0.5, 0.0], [np.nan, 0.4]]))


# Four judges of six targets: the worked example of Shrout & Fleiss (1979), table 2.
JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)


def test_icc_is_that_of_the_published_example():
    assert metrics.icc(JUDGES) == pytest.approx(0.29, abs=0.005)


def test_icc_counts_an_offset_as_disagreement_and_equal_ratings_as_agreement():
    image_N = np.array([1.0, 3.0, 5.0, 8.0])
    assert metrics.icc(np.column_stack([image_N, image_N])) == pytest.approx(1.0)
    assert metrics.icc(np.column_stack([image_N, image_N + 3])) < 0.7


def test_icc_of_what_cannot_be_compared_is_refused():
    for bad in (JUDGES[:1], JUDGES[:, :1], JUDGES[0], np.where(JUDGES == 9, np.nan, JUDGES)):
        with pytest.raises(InvalidInput):
            metrics.icc(bad)
    with pytest.raises(UndefinedMetric):
        metrics.icc(np.full((4, 3), 5.0))
