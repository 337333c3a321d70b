"""The posterior of a mean difference against numerical integration, and of pairs against the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from paaplus.gate.orders import pair_gains
from paaplus.gate.posterior import posterior_of_mean, posterior_of_pairs


def test_posterior_is_that_worked_out_by_hand() -> None:
    # eight differences of 1: kappa 9, degrees 10, mean 8/9, spread 2 * 9 + 8/9
    posterior = posterior_of_mean(np.ones(8), prior_sd=3.0)
    assert posterior.mean == pytest.approx(8 / 9)
    assert posterior.degrees == 10
    assert posterior.scale == pytest.approx(np.sqrt((18 + 8 / 9) / 10 / 9))
    expected = stats.t(10, 8 / 9, np.sqrt((18 + 8 / 9) / 90)).sf(-0.05)
    assert posterior.probability_above(-0.05) == pytest.approx(expected)


@pytest.mark.parametrize("difference", [[], [2.0], [1.0, -3.0, 0.5, 4.0, 4.0]])
@pytest.mark.slow
def test_posterior_is_prior_times_likelihood(difference: list[float]) -> None:
    """On a grid of means and precisions: inverse-gamma variance (1, sd^2), normal mean of one observation's weight."""
    values, prior_sd = np.array(difference), 3.0
    mean_G = np.linspace(-60, 60, 4001)[:, None]
    log_variance_G = np.linspace(-4, 14, 1200)[None]
    variance_G = np.exp(log_variance_G)
    log_density = stats.invgamma(1.0, scale=prior_sd**2).logpdf(variance_G) + log_variance_G
    log_density = log_density + stats.norm(0.0, np.sqrt(variance_G)).logpdf(mean_G)
    for value in values:
        log_density = log_density + stats.norm(mean_G, np.sqrt(variance_G)).logpdf(value)
    density_G = np.exp(log_density - log_density.max()).sum(1)
    expected = density_G[mean_G[:, 0] > -0.05].sum() / density_G.sum()
    assert posterior_of_mean(values, prior_sd).probability_above(-0.05) == pytest.approx(expected, abs=5e-3)


def test_doubled_error_is_the_spread_of_the_mean_over_pairs_in_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    target_NA = rng.normal(size=(80, 1))
    score_NA = target_NA + rng.normal(size=(80, 1))
    row_D = 2 * pair_gains(target_NA, np.zeros_like(score_NA), score_NA)  # against ties, which are half right
    drawn = [rng.integers(0, 80, 80) for _ in range(400)]
    taus = [stats.kendalltau(target_NA[index, 0], score_NA[index, 0]).statistic for index in drawn]
    assert posterior_of_pairs(row_D, 0.4).scale == pytest.approx(np.std(taus), rel=0.2)
