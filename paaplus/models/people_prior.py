"""The prior of a base model: the variances of people's deviations from the mean rating, by marginal likelihood.

Shape letters: U = people, N = ratings of a person (padded), I = images, R = taste space dim, J = variance components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from paaplus.records import SCORE_MAX, SCORE_MIN

MIN_PEOPLE_FOR_DIRECTIONS = 20
_NUM_ROUNDS = 3
_MAX_PEOPLE, _MAX_RATINGS = 48, 96  # used for the variance components, which are few numbers
_MAX_PEOPLE_FOR_DIRECTIONS, _MAX_RATINGS_FOR_DIRECTIONS = 512, 256
_PRIOR_LOG_SD = 1.5  # of a variance around its default; matters only for very few ratings
_MAX_LOG_CHANGE = 6.0  # a factor of 400: enough for all data, and matrices stay regular
_CENTER = (SCORE_MIN + SCORE_MAX) / 2


@dataclass(frozen=True)
class Person:
    """One person's ratings of one aspect.

    Attributes:
        taste_NR: taste space coordinates of the rated images.
        crowd_N: the other people's mean rating of them.
        residual_N: the person's rating minus that mean.
    """

    taste_NR: np.ndarray
    crowd_N: np.ndarray
    residual_N: np.ndarray

    def sample(self, count: int, rng: np.random.Generator) -> Person:
        """At most `count` of the ratings, drawn at random."""
        if len(self.residual_N) <= count:
            return self
        keep = np.sort(rng.choice(len(self.residual_N), count, replace=False))
        return Person(self.taste_NR[keep], self.crowd_N[keep], self.residual_N[keep])


@dataclass(frozen=True)
class PeoplePrior:
    """Covariance of people's weights in taste space, and the variances of offset, slope and noise of their ratings."""

    weight_covariance_RR: np.ndarray
    offset_variance: float
    slope_variance: float
    noise_variance: float

    @classmethod
    def mix(cls, factors: np.ndarray, covariances: Sequence[np.ndarray]) -> Self:
        """The prior of the result of `_fit_variances` for these covariances."""
        *shares, offset, slope, noise = (float(factor) for factor in factors)
        mixed_RR = sum(share * covariance_RR for share, covariance_RR in zip(shares, covariances, strict=True))
        return cls(np.asarray(mixed_RR), offset, slope, noise)


def fit_people_prior(people: Sequence[Person], seed: int = 0, learn_directions: bool = True) -> PeoplePrior:
    """Fit the prior of one aspect by marginal likelihood.

    First, all directions of taste space have the same variance. With `MIN_PEOPLE_FOR_DIRECTIONS` people or more, the
    directions in which people differ are fitted too: the covariance of people's posterior mean weights, mixed with the
    identity, and this again with the new prior. The mix is fitted on the half of the people whose weights are not in
    the covariance, which avoids overfitting; it is then used with the covariance of all people.

    Args:
        people: one or more people.
        seed: of the order of people and the samples of ratings.
        learn_directions: False: the first step only.
    """
    rng = np.random.default_rng(seed)
    shuffled = [people[u].sample(_MAX_RATINGS_FOR_DIRECTIONS, rng) for u in rng.permutation(len(people))]
    identity_RR = np.eye(people[0].taste_NR.shape[1])
    prior = PeoplePrior.mix(_fit_variances(shuffled, [identity_RR], rng), [identity_RR])
    if not learn_directions or len(people) < MIN_PEOPLE_FOR_DIRECTIONS:
        return prior
    shuffled = shuffled[:_MAX_PEOPLE_FOR_DIRECTIONS]
    first_half, second_half = shuffled[: len(shuffled) // 2], shuffled[len(shuffled) // 2 :]
    first_half_prior = prior
    for _ in range(_NUM_ROUNDS):
        covariance_RR = _weight_covariance(first_half, first_half_prior)
        factors = _fit_variances(second_half, [covariance_RR, identity_RR], rng)
        first_half_prior = PeoplePrior.mix(factors, [covariance_RR, identity_RR])
        prior = PeoplePrior.mix(factors, [_weight_covariance(shuffled, prior), identity_RR])
    return prior


def _weight_covariance(people: Sequence[Person], prior: PeoplePrior) -> np.ndarray:
    """Covariance over people of their posterior mean weights given all their ratings, shape (R, R)."""
    weight_UR = np.stack([_posterior_weights(person, prior) for person in people])
    return np.cov(weight_UR.T, bias=True)


def _posterior_weights(person: Person, prior: PeoplePrior) -> np.ndarray:
    centered_N = person.crowd_N - _CENTER
    prior_NR = person.taste_NR @ prior.weight_covariance_RR
    covariance_NN = prior_NR @ person.taste_NR.T
    covariance_NN += prior.offset_variance + prior.slope_variance * np.outer(centered_N, centered_N)
    covariance_NN[np.diag_indices_from(covariance_NN)] += prior.noise_variance
    return prior_NR.T @ cho_solve(cho_factor(covariance_NN), person.residual_N)


def _fit_variances(
    people: Sequence[Person], weight_covariances: Sequence[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """The most likely factors of the given weight covariances, then the offset, slope and noise variance."""
    people = [person.sample(_MAX_RATINGS, rng) for person in people[:_MAX_PEOPLE]]
    size = max(len(person.residual_N) for person in people)
    num_components = len(weight_covariances) + 3
    component_JUNN = np.zeros((num_components, len(people), size, size))
    residual_UN = np.zeros((len(people), size))
    for u, person in enumerate(people):
        n = len(person.residual_N)
        residual_UN[u, :n] = person.residual_N
        for j, covariance_RR in enumerate(weight_covariances):
            component_JUNN[j, u, :n, :n] = person.taste_NR @ covariance_RR @ person.taste_NR.T
        centered_N = person.crowd_N - _CENTER
        component_JUNN[-3, u, :n, :n] = 1.0
        component_JUNN[-2, u, :n, :n] = np.outer(centered_N, centered_N)
        component_JUNN[-1, u, :n, :n] = np.eye(n)
    count_U = np.array([len(person.residual_N) for person in people])
    return variance_components(component_JUNN, residual_UN, count_U)


def variance_components(component_JUNN: np.ndarray, residual_UN: np.ndarray, count_U: np.ndarray) -> np.ndarray:
    """The most likely variances v_J in `residual_u ~ N(0, sum_j v_j component_ju)`, with a weak prior.

    Args:
        component_JUNN: symmetric matrices; rows and columns beyond a person's count are 0. The last is the noise.
        residual_UN: residuals, 0 beyond the count.
        count_U: number of ratings of each person.

    Returns:
        The variances, shape (J,). The prior's default: half of the mean square is noise, and the other components share
        the rest equally.
    """
    num_components, num_people, size, _ = component_JUNN.shape
    padding_UNN = np.zeros((num_people, size, size))  # a unit variance where there is no rating adds nothing
    for u, count in enumerate(count_U):
        padding_UNN[u, np.arange(count, size), np.arange(count, size)] = 1.0
    flat_JE = component_JUNN.reshape(num_components, -1)
    mean_square = max(float(np.square(residual_UN).sum() / count_U.sum()), 1e-6)
    diagonal_J = np.einsum("junn->j", component_JUNN) / count_U.sum()
    share_J = np.full(num_components, 0.5 / (num_components - 1))
    share_J[-1] = 0.5
    start_J = np.log(share_J * mean_square / np.maximum(diagonal_J, 1e-9))

    def minus_log_posterior(log_J: np.ndarray) -> tuple[float, np.ndarray]:
        variance_J = np.exp(log_J)
        covariance_UNN = (variance_J @ flat_JE).reshape(padding_UNN.shape) + padding_UNN
        inverse_UNN = np.linalg.inv(covariance_UNN)
        solved_UN = np.einsum("unm,um->un", inverse_UNN, residual_UN)
        value = 0.5 * np.linalg.slogdet(covariance_UNN)[1].sum() + 0.5 * (solved_UN * residual_UN).sum()
        sensitivity_E = (inverse_UNN - solved_UN[:, :, None] * solved_UN[:, None, :]).ravel()
        gradient_J = 0.5 * variance_J * (flat_JE @ sensitivity_E)
        pull_J = (log_J - start_J) / _PRIOR_LOG_SD**2
        return value + 0.5 * float(pull_J @ (log_J - start_J)), gradient_J + pull_J

    bounds = [(start - _MAX_LOG_CHANGE, start + _MAX_LOG_CHANGE) for start in start_J]
    found = minimize(minus_log_posterior, start_J, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60})
    return np.exp(found.x)
