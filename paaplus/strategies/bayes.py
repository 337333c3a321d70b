"""Bayesian linear regression per aspect: exact, order-free, a few milliseconds. The default for taste vectors.

The residual of a rating over the generic score is regressed on `[1, generic - center, taste]` with independent
Gaussian priors and Gaussian noise. Every fit is from all ratings, sorted, in float64: any split of the same log
into increments gives the same bytes, and a retracted rating leaves no trace.

Shape letters: N = ratings, R = taste space dim, P = R + 2 regressors, A = aspects.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from paaplus.errors import TrainingStopped
from paaplus.records import SCORE_MAX, SCORE_MIN, RatedSet
from paaplus.scoring.adapters import TasteVector
from paaplus.scoring.tensors import pack
from paaplus.strategies.base import SCORE_CENTER, STATE_FORMAT, ShouldStop, Trained, TrainingRequest


def fit(request: TrainingRequest, should_stop: ShouldStop = lambda: False) -> Trained:
    """The posterior mean over all ratings as a taste vector; `parent` and `state` are not read.

    Raises:
        TrainingStopped: `should_stop` said so before the work began.
    """
    if should_stop():
        raise TrainingStopped("stopped before the first step")
    base = request.base
    rated = RatedSet.concatenate(request.past, request.new)
    num_aspects = len(base.aspects)
    alpha_A, beta_A = np.ones(num_aspects), np.zeros(num_aspects)
    weight_RA = np.zeros((base.taste_dim, num_aspects))
    loo_NA = np.full((len(rated), num_aspects), np.nan, np.float32)
    for a in range(num_aspects):
        used = ~np.isnan(rated.target_NA[:, a]) & (rated.weight_N > 0)
        generic_N = rated.generic_NA[used, a].astype(np.float64)
        prior_sd_P = np.full(base.taste_dim + 2, float(base.prior_sd_A[a]))
        prior_sd_P[:2] = base.offset_sd_A[a], base.slope_sd_A[a]
        mean_P, loo_N = posterior_mean(
            np.column_stack([np.ones(len(generic_N)), generic_N - SCORE_CENTER, rated.taste_NR[used]]),
            rated.target_NA[used, a] - generic_N,
            prior_sd_P,
            float(base.noise_sd_A[a]) / np.sqrt(rated.weight_N[used].astype(np.float64)),
        )
        alpha_A[a] += mean_P[1]
        beta_A[a] = mean_P[0] - mean_P[1] * SCORE_CENTER
        weight_RA[:, a] = mean_P[2:]
        loo_NA[used, a] = np.clip(generic_N + loo_N, SCORE_MIN, SCORE_MAX)
    adapter = TasteVector(
        base.digest, alpha_A.astype(np.float32), beta_A.astype(np.float32), weight_RA.astype(np.float32)
    )
    state = pack({}, {"format": STATE_FORMAT, "strategy": "bayes"})  # a refit from the log needs nothing kept
    return Trained(adapter, state, _metrics(adapter, rated, loo_NA), loo_NA)


def posterior_mean(
    design_NP: np.ndarray, target_N: np.ndarray, prior_sd_P: np.ndarray, noise_sd_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean weights of a Bayesian linear regression, and every row's prediction from all other rows.

    Solves the smaller of the two systems: N x N (dual) or P x P (primal). The leave-one-out values are the
    standard closed forms of a linear smoother, not N refits.

    Args:
        design_NP: regressors, shape (N, P); N may be 0.
        target_N: what they should add up to.
        prior_sd_P: prior standard deviation of each weight, around 0.
        noise_sd_N: standard deviation of each target's noise, > 0.

    Returns:
        The weights, shape (P,), and the leave-one-out predictions, shape (N,), both float64.
    """
    # In units of prior and noise sd, prior precision and noise covariance are both the identity.
    scaled_NP = design_NP * prior_sd_P / noise_sd_N[:, None]
    scaled_N = target_N / noise_sd_N
    num_rows, num_regressors = scaled_NP.shape
    if num_rows < num_regressors:
        factor = cho_factor(scaled_NP @ scaled_NP.T + np.eye(num_rows), lower=True)
        dual_N = cho_solve(factor, scaled_N)
        mean_P = scaled_NP.T @ dual_N
        loo_error_N = dual_N / np.diag(cho_solve(factor, np.eye(num_rows)))
    else:
        factor = cho_factor(scaled_NP.T @ scaled_NP + np.eye(num_regressors), lower=True)
        mean_P = cho_solve(factor, scaled_NP.T @ scaled_N)
        leverage_N = np.einsum("np,pn->n", scaled_NP, cho_solve(factor, scaled_NP.T))
        loo_error_N = (scaled_N - scaled_NP @ mean_P) / (1.0 - leverage_N)
    return mean_P * prior_sd_P, target_N - loo_error_N * noise_sd_N


def _metrics(adapter: TasteVector, rated: RatedSet, loo_NA: np.ndarray) -> dict[str, float]:
    metrics = {"num_ratings": float(len(rated))}
    judged_NA = ~np.isnan(loo_NA)
    if judged_NA.any():
        fitted_NA = adapter.score(rated.taste_NR, rated.generic_NA)
        for name, score_NA in (("generic", rated.generic_NA), ("train", fitted_NA), ("loo", loo_NA)):
            metrics[f"{name}_mse"] = float(np.mean(np.square(score_NA - rated.target_NA, dtype=np.float64)[judged_NA]))
    return metrics
