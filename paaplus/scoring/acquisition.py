"""Which images a user should rate next: those that reduce the uncertainty of all scores most. NumPy only.

Shape letters: N = candidate images, I = images of the pool, K = coordinates of the prior.
"""

from __future__ import annotations

import numpy as np


def informative_order(scaled_NK: np.ndarray, pool_IK: np.ndarray, count: int) -> list[int]:
    """Positions of the images to rate, the most informative first.

    Greedy: given those before it, each next image lowers the mean posterior variance of the pool's scores most. In a
    linear model this variance does not depend on the ratings, so the order is known before they are given. Scores are
    centered on their mean over the pool, because only their order matters.

    Args:
        scaled_NK: the prior's coordinates of the candidates, divided by the standard deviation of a rating's noise.
        pool_IK: coordinates of the pool, in any unit.
        count: how many images to choose; all candidates if there are fewer.

    Source:
        A-optimal design; Chaloner & Verdinelli, "Bayesian experimental design: a review" (1995), section 2.
    """
    centered_IK = pool_IK - pool_IK.mean(0)
    moment_KK = centered_IK.T @ centered_IK / len(pool_IK)
    solved_NK = scaled_NK.astype(np.float64)  # every candidate times the posterior covariance
    chosen: list[int] = []
    for _ in range(min(count, len(scaled_NK))):
        variance_N = 1.0 + np.einsum("nk,nk->n", solved_NK, scaled_NK)
        gain_N = np.einsum("nk,nk->n", solved_NK @ moment_KK, solved_NK) / variance_N
        gain_N[chosen] = -np.inf
        best = int(gain_N.argmax())
        chosen.append(best)
        direction_K = solved_NK[best].copy()
        solved_NK -= np.outer(scaled_NK @ direction_K, direction_K) / variance_N[best]
    return chosen
