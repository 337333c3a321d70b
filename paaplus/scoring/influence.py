"""How much each rating of a user moves each score: the change if the rating were left out. NumPy and SciPy.

Exact for the closed form of ratings alone; with comparisons and likes, of its Gaussian approximation at the mode.

Shape letters: N = ratings, B = images, A = aspects, K = coordinates of the prior, R = taste space dim.
"""

from __future__ import annotations

import numpy as np

from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring import closed_form
from paaplus.scoring.priors import Prior, design


def of_ratings(
    rated: RatedSet, compared: ComparedSet, prior: Prior, aspect: int, taste_BR: np.ndarray, generic_B: np.ndarray
) -> np.ndarray:
    """By how many points each score is higher for each rating, shape (B, N), float64; 0 for ratings that do not count.

    With `C` the posterior covariance, `x` the row of a rating and `e` its leave-one-out error, the posterior mean is
    `C x e` away from the mean without that row: the rank-one update of a regression, so no fit is repeated.

    Args:
        rated: the ratings, in order of sequence.
        compared: the comparisons and likes.
        prior: that the scores start from.
        aspect: which one.
        taste_BR: the images in taste space.
        generic_B: their generic scores of the aspect.
    """
    influence_BN = np.zeros((len(taste_BR), len(rated.target_NA)))
    used_N = ~np.isnan(rated.target_NA[:, aspect]) & (rated.weight_N > 0)
    if not used_N.any():
        return influence_BN
    posterior = closed_form.posterior_of(rated, compared, prior, aspect)
    num_used = int(used_N.sum())  # the first rows are the ratings
    moved_KN = posterior.covariance_KK @ posterior.scaled_NK[:num_used].T * posterior.loo_error_N[:num_used]
    coordinate_BK = prior.coordinates(design(taste_BR, generic_B), aspect)
    influence_BN[:, used_N] = coordinate_BK @ moved_KN
    return influence_BN
