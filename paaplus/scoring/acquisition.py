"""Which images to ask a person about next: those whose ratings narrow all their scores most. NumPy only.

Shape letters: N = images that may be asked about, I = images whose scores matter, K = coordinates of the prior.
"""

from __future__ import annotations

import numpy as np


def informative_order(scaled_NK: np.ndarray, pool_IK: np.ndarray, count: int) -> list[int]:
    """Positions of the images to ask about, the most telling first.

    Greedy: each next image lowers the mean posterior variance of the pool's scores most, given those before it. What
    the ratings will be does not matter to a linear model, so the order can be known beforehand. Scores are counted
    around their mean over the pool: their order matters, a person's offset does not.

    Args:
        scaled_NK: the prior's coordinates of the candidates, divided by the sd of a rating's noise.
        pool_IK: coordinates of the pool, in any unit.
        count: how many to choose; fewer where there are fewer.

    Source:
        A-optimal design; Chaloner & Verdinelli, "Bayesian experimental design: a review" (1995), section 2.
    """
    centered_IK = pool_IK - pool_IK.mean(0)
    moment_KK = centered_IK.T @ centered_IK / len(pool_IK)
    narrowed_NK = scaled_NK.astype(np.float64)  # each candidate times the posterior covariance so far
    chosen: list[int] = []
    for _ in range(min(count, len(scaled_NK))):
        variance_N = 1.0 + np.einsum("nk,nk->n", narrowed_NK, scaled_NK)
        gain_N = np.einsum("nk,nk->n", narrowed_NK @ moment_KK, narrowed_NK) / variance_N
        gain_N[chosen] = -np.inf
        best = int(gain_N.argmax())
        chosen.append(best)
        direction_K = narrowed_NK[best].copy()
        narrowed_NK -= np.outer(scaled_NK @ direction_K, direction_K) / variance_N[best]
    return chosen
