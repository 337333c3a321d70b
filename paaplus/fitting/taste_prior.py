"""Fit a taste prior to many people's ratings: the mean and covariance of their deviations from the generic score.

Shape letters: U = people, N = ratings of a person, I = images of the pool, R = taste space dim, P = R + 2 regressors,
K = coordinates of the prior, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from paaplus.errors import InvalidInput
from paaplus.models.people_prior import variance_components
from paaplus.records import RatedSet
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import OwnPrior, TastePrior, design

MIN_PEOPLE = 50
RANK = 96
_NUM_ROUNDS = 3
_MAX_PEOPLE_FOR_FACTORS, _MAX_RATINGS_FOR_FACTORS = 48, 96  # enough to estimate five numbers
_MAX_RATINGS, _MAX_POOL = 256, 2048
_MAX_LENGTH = 3.0  # of a person's weights, in medians over people
_FLOOR = 1e-8  # least eigenvalue that is kept, as a share of the largest


@dataclass(frozen=True)
class _RatedAspect:
    """One aspect of one person's ratings: regressors, and ratings less the generic score."""

    design_NP: np.ndarray
    residual_N: np.ndarray

    def first(self, count: int) -> _RatedAspect:
        return _RatedAspect(self.design_NP[:count], self.residual_N[:count])


def fit_taste_prior(
    base: BaseScorer, people: Sequence[RatedSet], rank: int = RANK, seed: int = 0, min_people: int = MIN_PEOPLE
) -> tuple[TastePrior, dict[str, Any]]:
    """Fit the taste prior of one base model by empirical Bayes.

    Repeated: under the current prior, people's posterior mean weights have a mean and a covariance. The next prior's
    covariance is a mixture of this covariance and an isotropic one, with the factors of the highest marginal likelihood
    on the half of the people who are not in it. At the end, the `rank` directions that explain most of the variance of
    scores are kept. The noise is never below the base model's, because that includes the error of the generic score on
    images that it was not fitted to. Nobody's weights count as longer than `_MAX_LENGTH` times the median length.

    Args:
        base: the base model; ratings are in its taste space.
        people: each person's ratings; a person without ratings of an aspect is left out for it.
        rank: the largest K.
        seed: for the order of people and ratings.
        min_people: fewest people who rated an aspect.

    Returns:
        The prior, and `num_people`, `num_ratings`, `rank`, and per aspect `explained` (share of variance that is kept),
        `noise_sd` and `fitted_noise_sd` (score points).

    Raises:
        InvalidInput: fewer than `min_people` people rated an aspect.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        return _fit(base, people, rank, seed, min_people)


def check_raters(aspect: str, num_people: int, min_people: int = MIN_PEOPLE) -> None:
    """Check that enough people rated an aspect.

    Raises:
        InvalidInput: fewer than `min_people`.
    """
    if num_people < min_people:
        raise InvalidInput(f"{num_people} people rated {aspect!r}; a taste prior needs {min_people}")


def _fit(
    base: BaseScorer, people: Sequence[RatedSet], rank: int, seed: int, min_people: int
) -> tuple[TastePrior, dict[str, Any]]:
    own = OwnPrior(base)
    num_regressors, num_aspects = own.num_coordinates, len(base.aspects)
    mean_PA = np.zeros((num_regressors, num_aspects))
    factor_PKA = np.zeros((num_regressors, min(rank, num_regressors), num_aspects))
    noise_sd_A = np.array(base.noise_sd_A, np.float64)
    explained_A, fitted_noise_A = np.zeros(num_aspects), np.zeros(num_aspects)
    for a, aspect in enumerate(base.aspects):
        rng = np.random.default_rng([seed, a])
        raters = [_rated_aspect(rated, a, rng) for rated in people]
        raters = [raters[u] for u in rng.permutation(len(raters)) if len(raters[u].residual_N)]
        check_raters(aspect, len(raters), min_people)
        start_PP = np.diag(np.square(own.weights(np.ones(num_regressors), a)))
        mean_P, covariance_PP, noise_variance = _estimate(raters, start_PP, float(noise_sd_A[a]) ** 2)
        pool_IP = np.concatenate([rater.design_NP for rater in raters])
        pool_IP = pool_IP[np.sort(rng.choice(len(pool_IP), min(_MAX_POOL, len(pool_IP)), replace=False))]
        factor_PK, explained_A[a] = _leading(covariance_PP, pool_IP, rank)
        mean_PA[:, a] = mean_P
        factor_PKA[:, : factor_PK.shape[1], a] = factor_PK
        fitted_noise_A[a] = np.sqrt(noise_variance)
        noise_sd_A[a] = max(noise_sd_A[a], fitted_noise_A[a])
    prior = TastePrior(
        base.digest, mean_PA.astype(np.float32), factor_PKA.astype(np.float32), noise_sd_A.astype(np.float32)
    )
    return prior, {
        "num_people": len(people),
        "num_ratings": sum(len(rated) for rated in people),
        "rank": prior.num_coordinates,
        "explained": np.round(explained_A, 4).tolist(),
        "noise_sd": np.round(noise_sd_A, 4).tolist(),
        "fitted_noise_sd": np.round(fitted_noise_A, 4).tolist(),
    }


def _rated_aspect(rated: RatedSet, aspect: int, rng: np.random.Generator) -> _RatedAspect:
    """Ratings of one aspect in random order, at most `_MAX_RATINGS`."""
    given = np.flatnonzero(~np.isnan(rated.target_NA[:, aspect]))
    chosen = rng.permutation(given)[:_MAX_RATINGS]
    generic_N = rated.generic_NA[chosen, aspect].astype(np.float64)
    return _RatedAspect(design(rated.taste_NR[chosen], generic_N), rated.target_NA[chosen, aspect] - generic_N)


def _estimate(
    raters: Sequence[_RatedAspect], start_PP: np.ndarray, noise_variance: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean, shape (P,), and covariance, shape (P, P), of people's weights, and the fitted noise variance."""
    num_regressors = len(start_PP)
    zero_P = np.zeros(num_regressors)
    offset_PP, slope_PP, isotropic_PP = np.zeros((3, num_regressors, num_regressors))
    offset_PP[0, 0] = slope_PP[1, 1] = 1.0
    isotropic_PP[range(2, num_regressors), range(2, num_regressors)] = 1.0
    fit_raters, mix_raters = raters[: len(raters) // 2], raters[len(raters) // 2 :][:_MAX_PEOPLE_FOR_FACTORS]
    mix_raters = [rater.first(_MAX_RATINGS_FOR_FACTORS) for rater in mix_raters]
    fit_covariance_PP = covariance_PP = start_PP
    factors = np.zeros(5)
    for _ in range(_NUM_ROUNDS):
        spread_PP = _spread(fit_raters, fit_covariance_PP, noise_variance)
        others = (isotropic_PP, offset_PP, slope_PP)
        factors = _mix(mix_raters, (spread_PP, *others))
        fit_covariance_PP = np.tensordot(factors[:4], np.stack([spread_PP, *others]), 1)
        all_spread_PP = _spread(raters, covariance_PP, noise_variance)
        covariance_PP = np.tensordot(factors[:4], np.stack([all_spread_PP, *others]), 1)
    weight_UP = np.stack([_posterior_weights(rater, zero_P, covariance_PP, noise_variance) for rater in raters])
    weight_UP = _bounded(weight_UP, covariance_PP)
    return weight_UP.mean(0), covariance_PP, float(factors[4])


def _posterior_weights(
    rater: _RatedAspect, mean_P: np.ndarray, covariance_PP: np.ndarray, noise_variance: float
) -> np.ndarray:
    prior_PN = covariance_PP @ rater.design_NP.T
    covariance_NN = rater.design_NP @ prior_PN + noise_variance * np.eye(len(rater.residual_N))
    return mean_P + prior_PN @ np.linalg.solve(covariance_NN, rater.residual_N - rater.design_NP @ mean_P)


def _spread(raters: Sequence[_RatedAspect], covariance_PP: np.ndarray, noise_variance: float) -> np.ndarray:
    """Covariance over people of their posterior mean weights, shape (P, P)."""
    zero_P = np.zeros(len(covariance_PP))
    weight_UP = np.stack([_posterior_weights(rater, zero_P, covariance_PP, noise_variance) for rater in raters])
    return np.cov(_bounded(weight_UP, covariance_PP).T, bias=True)


def _bounded(weight_UP: np.ndarray, covariance_PP: np.ndarray) -> np.ndarray:
    """People's weights, none longer than a multiple of the median length, in standard deviations of the prior."""
    length_U = np.sqrt(np.square(weight_UP / np.sqrt(np.maximum(covariance_PP.diagonal(), 1e-12))).mean(1))
    limit = _MAX_LENGTH * float(np.median(length_U))
    return weight_UP * np.minimum(1.0, limit / np.maximum(length_U, 1e-12))[:, None]


def _mix(raters: Sequence[_RatedAspect], covariances: Sequence[np.ndarray]) -> np.ndarray:
    """Maximum-likelihood factors of these covariances of weights, then the noise variance."""
    size = max(len(rater.residual_N) for rater in raters)
    component_JUNN = np.zeros((len(covariances) + 1, len(raters), size, size))
    residual_UN = np.zeros((len(raters), size))
    for u, rater in enumerate(raters):
        n = len(rater.residual_N)
        residual_UN[u, :n] = rater.residual_N
        for j, covariance_PP in enumerate(covariances):
            component_JUNN[j, u, :n, :n] = rater.design_NP @ covariance_PP @ rater.design_NP.T
        component_JUNN[-1, u, :n, :n] = np.eye(n)
    return variance_components(component_JUNN, residual_UN, np.array([len(rater.residual_N) for rater in raters]))


def _leading(covariance_PP: np.ndarray, pool_IP: np.ndarray, rank: int) -> tuple[np.ndarray, float]:
    """A factor F with `F @ F.T` close to the covariance for the pool's scores, and the share of variance it keeps."""
    value_P, vector_PP = np.linalg.eigh(covariance_PP)
    root_PP = vector_PP * np.sqrt(np.maximum(value_P, 0.0))
    score_IP = pool_IP @ root_PP
    energy_P, rotation_PP = np.linalg.eigh(score_IP.T @ score_IP / len(score_IP))
    energy_P, rotation_PP = energy_P[::-1], rotation_PP[:, ::-1]
    kept = energy_P[:rank] > _FLOOR * energy_P[0]
    rotation_PK = rotation_PP[:, :rank][:, kept]
    rotation_PK = rotation_PK * np.sign(rotation_PK[np.abs(rotation_PK).argmax(0), np.arange(rotation_PK.shape[1])])
    return root_PP @ rotation_PK, float(energy_P[:rank][kept].sum() / energy_P.sum())
