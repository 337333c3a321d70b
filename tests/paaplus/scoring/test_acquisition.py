"""The order of images against the posterior variance, computed for every choice."""

from __future__ import annotations

import numpy as np

from paaplus.scoring.acquisition import informative_order
from paaplus.scoring.posterior import Posterior


def _mean_variance(scaled_NK: np.ndarray, pool_IK: np.ndarray) -> float:
    covariance_KK = Posterior(scaled_NK, np.zeros(len(scaled_NK))).covariance_KK
    centered_IK = pool_IK - pool_IK.mean(0)
    return float(np.einsum("ik,kl,il->i", centered_IK, covariance_KK, centered_IK).mean())


def test_each_choice_lowers_the_mean_variance_of_the_pool_most() -> None:
    rng = np.random.default_rng(0)
    scaled_NK, pool_IK = rng.normal(size=(12, 5)) * [3, 2, 1, 0.5, 0.1], rng.normal(size=(30, 5)) + 2.0
    order = informative_order(scaled_NK, pool_IK, 6)
    assert len(set(order)) == 6
    for step, chosen in enumerate(order):
        left = [n for n in range(12) if n not in order[:step]]
        variances = {n: _mean_variance(scaled_NK[[*order[:step], n]], pool_IK) for n in left}
        assert chosen == min(variances, key=variances.__getitem__)


def test_image_that_only_informs_about_the_offset_is_not_chosen() -> None:
    scaled_NK = np.array([[100.0, 0.0], [0.0, 1.0]])  # the first informs about the offset, the second about differences
    pool_IK = np.column_stack([np.ones(9), np.linspace(-1, 1, 9)])
    assert informative_order(scaled_NK, pool_IK, 1) == [1]


def test_no_more_are_chosen_than_there_are() -> None:
    assert sorted(informative_order(np.eye(3), np.eye(3), 10)) == [0, 1, 2]
    assert informative_order(np.empty((0, 3)), np.eye(3), 10) == []
