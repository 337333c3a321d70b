"""Model evidence: how likely a person's answers are under priors that differ in their mean. NumPy only.

Under a prior, the scores of the images that were answered about are jointly normal. Ratings condition them exactly;
comparisons by Laplace's approximation, for all means at once. The model is that of `closed_form`, which finds the
weights for one prior; here the number of unknowns is the number of answers.

Shape letters: E = means, N = ratings, C = comparisons, I = images whose scores are predicted, P = R + 2 regressors,
K = coordinates of a prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring.comparisons import log_likelihood, slope_and_curvature
from paaplus.scoring.priors import design

_MAX_RATINGS, _MAX_COMPARISONS = 300, 150  # the latest: more hardly change a match
_MAX_STEPS = 50
_NUM_HALVINGS = 20
_TOLERANCE = 1e-9  # change of the log posterior


@dataclass(frozen=True, eq=False)
class Answers:
    """One aspect of a user's ratings and comparisons as regressors; for a comparison, their difference."""

    design_NP: np.ndarray
    residual_N: np.ndarray  # rating less generic score
    rating_weight_N: np.ndarray
    design_CP: np.ndarray
    generic_difference_C: np.ndarray
    preference_C: np.ndarray
    comparison_weight_C: np.ndarray

    @classmethod
    def of(cls, rated: RatedSet, compared: ComparedSet, aspect: int, num_regressors: int) -> Answers:
        used = np.flatnonzero(~np.isnan(rated.target_NA[:, aspect]) & (rated.weight_N > 0))[-_MAX_RATINGS:]
        generic_N = rated.generic_NA[used, aspect].astype(np.float64)
        design_CP, difference_C, preference_C = np.empty((0, num_regressors)), np.empty(0), np.empty(0)
        weight_C = np.empty(0)
        if len(compared):
            compared_rows = np.flatnonzero(~np.isnan(compared.preference_CA[:, aspect]) & (compared.weight_C > 0))
            compared_rows = compared_rows[-_MAX_COMPARISONS:]
            first_C = compared.first_generic_CA[compared_rows, aspect].astype(np.float64)
            second_C = compared.second_generic_CA[compared_rows, aspect].astype(np.float64)
            design_CP = design(compared.first_taste_CR[compared_rows], first_C) - design(
                compared.second_taste_CR[compared_rows], second_C
            )
            difference_C, preference_C = (
                first_C - second_C,
                compared.preference_CA[compared_rows, aspect].astype(np.float64),
            )
            weight_C = compared.weight_C[compared_rows].astype(np.float64)
        return cls(
            design_NP=design(rated.taste_NR[used], generic_N),
            residual_N=rated.target_NA[used, aspect] - generic_N,
            rating_weight_N=rated.weight_N[used].astype(np.float64),
            design_CP=design_CP,
            generic_difference_C=difference_C,
            preference_C=preference_C,
            comparison_weight_C=weight_C,
        )

    def __len__(self) -> int:
        return len(self.residual_N) + len(self.preference_C)


@dataclass(frozen=True, eq=False)
class AnswerPosterior:
    """The posterior given the answers, under each prior mean.

    `log_evidence_E` is the log marginal likelihood of the answers. `gradient_EP` is the gradient of their log
    likelihood by the weights: the posterior mean of the weights is prior mean + prior covariance @ gradient.
    `score_EI` and `covariance_EII` are mean and covariance of the scores of the images that were passed.
    """

    log_evidence_E: np.ndarray
    gradient_EP: np.ndarray
    score_EI: np.ndarray
    covariance_EII: np.ndarray


def posterior_given(
    answers: Answers,
    factor_PK: np.ndarray,
    mean_EP: np.ndarray,
    noise_sd: float,
    design_IP: np.ndarray | None = None,
    generic_I: np.ndarray | None = None,
) -> AnswerPosterior:
    """Model evidence under normal priors of one covariance and several means, and the posterior of images' scores.

    Args:
        answers: the user's ratings and comparisons, one aspect.
        factor_PK: factor F of the prior covariance F @ F.T of the weights.
        mean_EP: the prior means of the weights.
        noise_sd: standard deviation of a rating's noise, in score points.
        design_IP: regressors of the images whose scores are predicted; None: no images.
        generic_I: their generic scores.
    """
    design_IP = np.empty((0, len(factor_PK))) if design_IP is None else design_IP
    generic_I = np.empty(0) if generic_I is None else generic_I
    num_compared = len(answers.preference_C)
    row_XP = np.concatenate([answers.design_CP, design_IP])  # X = C + I
    mean_EX = np.concatenate([answers.generic_difference_C, generic_I]) + mean_EP @ row_XP.T
    row_XK, coordinate_NK = row_XP @ factor_PK, answers.design_NP @ factor_PK
    kernel_XX = row_XK @ row_XK.T
    log_evidence_E, gradient_EP = np.zeros(len(mean_EP)), np.zeros(mean_EP.shape)
    solved_NX = np.empty((0, len(row_XP)))
    if len(coordinate_NK):
        noise_N = noise_sd**2 / answers.rating_weight_N
        root = cho_factor(coordinate_NK @ coordinate_NK.T + np.diag(noise_N), lower=True)
        residual_EN = answers.residual_N - mean_EP @ answers.design_NP.T
        dual_EN = cho_solve(root, residual_EN.T).T
        log_evidence_E -= 0.5 * (residual_EN * dual_EN).sum(1) + np.log(root[0].diagonal()).sum()
        log_evidence_E -= 0.5 * len(noise_N) * np.log(2.0 * np.pi)
        cross_NX = coordinate_NK @ row_XK.T
        solved_NX = cho_solve(root, cross_NX)
        mean_EX = mean_EX + dual_EN @ cross_NX
        kernel_XX = kernel_XX - cross_NX.T @ solved_NX
        gradient_EP = dual_EN @ answers.design_NP
    score_EI = mean_EX[:, num_compared:]
    covariance_EII = np.broadcast_to(kernel_XX[num_compared:, num_compared:], (*score_EI.shape, score_EI.shape[1]))
    if num_compared:
        cross_IC = kernel_XX[num_compared:, :num_compared]
        mode = _mode(kernel_XX[:num_compared, :num_compared], mean_EX[:, :num_compared], answers, noise_sd)
        log_evidence_E = log_evidence_E + mode.log_evidence_E
        score_EI = score_EI + mode.dual_EC @ cross_IC.T
        covariance_EII = covariance_EII - cross_IC @ mode.precision_ECC @ cross_IC.T
        # less the part of the comparisons' gradient that the ratings explain
        gradient_EP = gradient_EP + mode.dual_EC @ (
            answers.design_CP - solved_NX[:, :num_compared].T @ answers.design_NP
        )
    return AnswerPosterior(log_evidence_E, gradient_EP, score_EI, covariance_EII)


@dataclass(frozen=True, eq=False)
class _Mode:
    """The mode of the posterior of the compared differences, and its curvature there."""

    log_evidence_E: np.ndarray
    dual_EC: np.ndarray  # inverse of the kernel @ (mode - mean)
    precision_ECC: np.ndarray  # posterior covariance = kernel - kernel @ this @ kernel


def _mode(kernel_CC: np.ndarray, mean_EC: np.ndarray, answers: Answers, noise_sd: float) -> _Mode:
    """Newton's method for all means at once. A step is halved while it lowers the log posterior.

    Source:
        Rasmussen & Williams, "Gaussian processes for machine learning" (2006), algorithm 3.1.
    """
    preference_C, weight_C = answers.preference_C, answers.comparison_weight_C
    temperature = np.array(noise_sd)

    def log_posterior(dual_EC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        change_EC = dual_EC @ kernel_CC
        log_likelihood_EC = log_likelihood(mean_EC + change_EC, preference_C, temperature)
        return log_likelihood_EC @ weight_C - 0.5 * (dual_EC * change_EC).sum(1), mean_EC + change_EC

    def expansion(difference_EC: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        slope_EC, curvature_EC = slope_and_curvature(difference_EC, preference_C, temperature)
        root_EC = np.sqrt(weight_C * curvature_EC)
        system_ECC = np.eye(len(weight_C)) + root_EC[:, :, None] * kernel_CC * root_EC[:, None, :]
        inverse_ECC = np.linalg.inv(system_ECC)
        precision_ECC = root_EC[:, :, None] * inverse_ECC * root_EC[:, None, :]
        return weight_C * slope_EC, precision_ECC, np.linalg.slogdet(system_ECC)[1]

    dual_EC = np.zeros_like(mean_EC)
    value_E, difference_EC = log_posterior(dual_EC)
    slope_EC, precision_ECC, log_det_E = expansion(difference_EC)
    for _ in range(_MAX_STEPS):
        # dual' = (K + W^-1)^-1 (K dual + W^-1 slope) = slope + precision K (dual - slope)
        deviation_EC = (dual_EC - slope_EC) @ kernel_CC
        step_EC = slope_EC + np.einsum("ecd,ed->ec", precision_ECC, deviation_EC) - dual_EC
        share_E = np.ones(len(mean_EC))
        next_value_E, next_difference_EC = log_posterior(dual_EC + step_EC)
        for _ in range(_NUM_HALVINGS):  # the log posterior is concave, but a full step may overshoot its maximum
            if not (worse_E := next_value_E < value_E - _TOLERANCE).any():
                break
            share_E = np.where(worse_E, share_E / 2.0, share_E)
            next_value_E, next_difference_EC = log_posterior(dual_EC + share_E[:, None] * step_EC)
        dual_EC = dual_EC + share_E[:, None] * step_EC
        gain = float((next_value_E - value_E).max())
        value_E, difference_EC = next_value_E, next_difference_EC
        slope_EC, precision_ECC, log_det_E = expansion(difference_EC)
        if gain < _TOLERANCE:
            break
    return _Mode(value_E - 0.5 * log_det_E, dual_EC, precision_ECC)
