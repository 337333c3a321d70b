"""Learn a taste prior from people who rated: how they differ from the generic score, together and one from another.

Shape letters: U = people, N = ratings of a person, I = images, R = taste space dim, P = R + 2 regressors,
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
_MAX_PEOPLE_FOR_FACTORS, _MAX_RATINGS_FOR_FACTORS = 48, 96  # five numbers need no more
_MAX_RATINGS, _MAX_POOL = 256, 2048
_FLOOR = 1e-8  # of an eigenvalue, as a share of the largest


@dataclass(frozen=True)
class _Person:
    """One aspect of one person's ratings: the regressors, and what is left over the generic score."""

    design_NP: np.ndarray
    residual_N: np.ndarray

    def first(self, count: int) -> _Person:
        return _Person(self.design_NP[:count], self.residual_N[:count])


def fit_taste_prior(
    base: BaseScorer, people: Sequence[RatedSet], rank: int = RANK, seed: int = 0
) -> tuple[TastePrior, dict[str, Any]]:
    """The prior of one base model from many people's ratings, by empirical Bayes.

    People's posterior mean weights under the present prior have a mean and a covariance; the covariance is mixed with
    an even one (by marginal likelihood, on the half of the people who are not in it) and is the next prior. The `rank`
    directions in which that says most about the images rated are kept. The noise is never taken below the base
    model's, which counts what the generic score misses on images that it was not fitted on.

    Args:
        base: the base model; ratings are in its taste space.
        people: everybody's ratings; an aspect that somebody did not rate is passed over.
        rank: K at most.
        seed: of the order of people and ratings.

    Returns:
        The prior, and numbers about it.

    Raises:
        InvalidInput: fewer than 50 people rated an aspect.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        return _fit(base, people, rank, seed)


def _fit(base: BaseScorer, people: Sequence[RatedSet], rank: int, seed: int) -> tuple[TastePrior, dict[str, Any]]:
    own = OwnPrior(base)
    num_regressors, num_aspects = own.num_coordinates, len(base.aspects)
    mean_PA = np.zeros((num_regressors, num_aspects))
    factor_PKA = np.zeros((num_regressors, min(rank, num_regressors), num_aspects))
    noise_sd_A = np.array(base.noise_sd_A, np.float64)
    explained_A, fitted_noise_A = np.zeros(num_aspects), np.zeros(num_aspects)
    for a, aspect in enumerate(base.aspects):
        rng = np.random.default_rng([seed, a])
        raters = [_person(rated, a, rng) for rated in people]
        raters = [raters[u] for u in rng.permutation(len(raters)) if len(raters[u].residual_N)]
        if len(raters) < MIN_PEOPLE:
            raise InvalidInput(f"{len(raters)} people rated {aspect!r}; a taste prior needs {MIN_PEOPLE}")
        start_PP = np.diag(np.square(own.weights(np.ones(num_regressors), a)))
        mean_P, covariance_PP, noise_variance = _learn(raters, start_PP, float(noise_sd_A[a]) ** 2)
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


def _person(rated: RatedSet, aspect: int, rng: np.random.Generator) -> _Person:
    """Ratings of one aspect in random order, no more than learning needs."""
    given = np.flatnonzero(~np.isnan(rated.target_NA[:, aspect]))
    chosen = rng.permutation(given)[:_MAX_RATINGS]
    generic_N = rated.generic_NA[chosen, aspect].astype(np.float64)
    return _Person(design(rated.taste_NR[chosen], generic_N), rated.target_NA[chosen, aspect] - generic_N)


def _learn(
    raters: Sequence[_Person], start_PP: np.ndarray, noise_variance: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and covariance of people's weights, and the noise variance that goes with them in the data."""
    num_regressors = len(start_PP)
    zero_P = np.zeros(num_regressors)
    offset_PP, slope_PP, even_PP = np.zeros((3, num_regressors, num_regressors))
    offset_PP[0, 0] = slope_PP[1, 1] = 1.0
    even_PP[range(2, num_regressors), range(2, num_regressors)] = 1.0
    learning, judging = raters[: len(raters) // 2], raters[len(raters) // 2 :][:_MAX_PEOPLE_FOR_FACTORS]
    judging = [rater.first(_MAX_RATINGS_FOR_FACTORS) for rater in judging]
    learning_PP = covariance_PP = start_PP
    found = np.zeros(5)
    for _ in range(_NUM_ROUNDS):
        spread_PP = _spread(learning, learning_PP, noise_variance)
        others = (even_PP, offset_PP, slope_PP)
        found = _mix(judging, (spread_PP, *others))
        learning_PP = np.tensordot(found[:4], np.stack([spread_PP, *others]), 1)
        all_spread_PP = _spread(raters, covariance_PP, noise_variance)
        covariance_PP = np.tensordot(found[:4], np.stack([all_spread_PP, *others]), 1)
    weight_UP = np.stack([_posterior_weights(rater, zero_P, covariance_PP, noise_variance) for rater in raters])
    return weight_UP.mean(0), covariance_PP, float(found[4])


def _posterior_weights(
    rater: _Person, mean_P: np.ndarray, covariance_PP: np.ndarray, noise_variance: float
) -> np.ndarray:
    prior_PN = covariance_PP @ rater.design_NP.T
    covariance_NN = rater.design_NP @ prior_PN + noise_variance * np.eye(len(rater.residual_N))
    return mean_P + prior_PN @ np.linalg.solve(covariance_NN, rater.residual_N - rater.design_NP @ mean_P)


def _spread(raters: Sequence[_Person], covariance_PP: np.ndarray, noise_variance: float) -> np.ndarray:
    """Covariance over people of their posterior mean weights, shape (P, P)."""
    zero_P = np.zeros(len(covariance_PP))
    weight_UP = np.stack([_posterior_weights(rater, zero_P, covariance_PP, noise_variance) for rater in raters])
    return np.cov(weight_UP.T, bias=True)


def _mix(raters: Sequence[_Person], covariances: Sequence[np.ndarray]) -> np.ndarray:
    """The most likely factors of these covariances of weights, then the noise variance."""
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
    """A factor F with `F @ F.T` about the covariance, exact where the pool varies most; and the share it keeps."""
    value_P, vector_PP = np.linalg.eigh(covariance_PP)
    root_PP = vector_PP * np.sqrt(np.maximum(value_P, 0.0))
    seen_IP = pool_IP @ root_PP
    energy_P, turn_PP = np.linalg.eigh(seen_IP.T @ seen_IP / len(seen_IP))
    energy_P, turn_PP = energy_P[::-1], turn_PP[:, ::-1]
    kept = energy_P[:rank] > _FLOOR * energy_P[0]
    turn_PK = turn_PP[:, :rank][:, kept]
    turn_PK = turn_PK * np.sign(turn_PK[np.abs(turn_PK).argmax(0), np.arange(turn_PK.shape[1])])
    return root_PP @ turn_PK, float(energy_P[:rank][kept].sum() / energy_P.sum())
