"""Posterior of the mean of differences. Shape letters: D = differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

# The weak prior on a mean difference weighs as much as one observation of no difference; on its spread, as two.
_PRIOR_OBSERVATIONS = 1.0
_PRIOR_DEGREES = 2.0


@dataclass(frozen=True)
class MeanPosterior:
    """Student-t posterior of a mean difference."""

    mean: float
    scale: float
    degrees: float

    def probability_above(self, limit: float) -> float:
        """Probability that the mean is above a limit."""
        return float(stdtr(self.degrees, (self.mean - limit) / self.scale))


def posterior_of_mean(difference_D: np.ndarray, prior_sd: float) -> MeanPosterior:
    """Posterior of the mean of independent differences under a normal-inverse-gamma prior around 0.

    Args:
        difference_D: the differences, float64.
        prior_sd: standard deviation of one difference under the prior.

    Source: Murphy, "Conjugate Bayesian analysis of the Gaussian distribution" (2007), section 6; degrees here are
    2 alpha, and the prior is kappa = 1, alpha = 1, beta = prior_sd^2.
    """
    num = len(difference_D)
    kappa = _PRIOR_OBSERVATIONS + num
    degrees = _PRIOR_DEGREES + num
    mean = float(difference_D.sum() / kappa)
    sample_mean = float(difference_D.mean()) if num else 0.0
    spread = (
        _PRIOR_DEGREES * prior_sd**2
        + float(np.square(difference_D - sample_mean).sum())
        + _PRIOR_OBSERVATIONS * num / kappa * sample_mean**2
    )
    return MeanPosterior(mean, float(np.sqrt(spread / degrees / kappa)), degrees)


def posterior_of_pairs(row_D: np.ndarray, prior_sd: float) -> MeanPosterior:
    """Posterior of the mean over pairs, from each row's mean over the pairs that it is in.

    Each pair enters the means of two rows, which doubles the standard error of the mean over rows.

    Source: variance of a U-statistic of degree two, Hoeffding (1948).
    """
    posterior = posterior_of_mean(row_D, prior_sd)
    return MeanPosterior(posterior.mean, 2.0 * posterior.scale, posterior.degrees)
