"""The likelihood of a comparison: Bradley-Terry with ties, on the same scale as the Gaussian one of ratings.

A person who rates an image gives `score + noise`; one who compares two images is taken to weigh up two such values.
The difference of two normal noises is nearly logistic, and the logistic distribution of the same variance has the
scale `temperature = sqrt(6) / pi * noise_sd`. With `z = (first score - second score) / temperature`:

    P(first) = sigmoid(z - TIE_WIDTH)      P(second) = sigmoid(-z - TIE_WIDTH)      P(tie) = what is left

A tie is said when the values differ by less than `TIE_WIDTH * temperature`. At ln 2 (Rao and Kupper's theta of 2)
the three answers are equally likely about two images of one score; with a noise of 1 point, that is half a point.

Source: Rao & Kupper, "Ties in paired-comparison experiments" (JASA 1967).
Shape letters: C = comparisons, A = aspects. Preferences are 1 (first), 0 (second), 0.5 (tie), NaN (nothing said).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import expit, log_expit
from torch import Tensor
from torch.nn.functional import logsigmoid

from paaplus.records import PREFERS_FIRST, PREFERS_SECOND, TIE

TIE_WIDTH = math.log(2.0)
TEMPERATURE_PER_NOISE_SD = math.sqrt(6.0) / math.pi
_LOG_TIE_SHARE = math.log1p(-math.exp(-2.0 * TIE_WIDTH))


def comparison_loss(difference_CA: Tensor, preference_CA: Tensor, weight_C: Tensor, noise_sd_A: Tensor) -> Tensor:
    """Minus twice the weighted log likelihood, summed; what was not said adds nothing and has no gradient.

    Args:
        difference_CA: score of the first image minus that of the second.
        preference_CA: what the person said.
        weight_C: how much each comparison counts.
        noise_sd_A: of a rating.
    """
    return -2.0 * (weight_C[:, None] * log_likelihood_of_said(difference_CA, preference_CA, noise_sd_A)).sum()


def log_likelihood_of_said(difference_CA: Tensor, preference_CA: Tensor, noise_sd_A: Tensor) -> Tensor:
    """Of each answer, with a gradient; 0 where nothing was said. Any number of axes before that of aspects."""
    said_CA = ~torch.isnan(preference_CA)
    z_CA = torch.where(said_CA, difference_CA, 0.0) / (TEMPERATURE_PER_NOISE_SD * noise_sd_A)
    log_tie_CA = logsigmoid(z_CA + TIE_WIDTH) + logsigmoid(TIE_WIDTH - z_CA) + _LOG_TIE_SHARE
    log_likelihood_CA = torch.where(
        preference_CA == PREFERS_FIRST,
        logsigmoid(z_CA - TIE_WIDTH),
        torch.where(preference_CA == PREFERS_SECOND, logsigmoid(-z_CA - TIE_WIDTH), log_tie_CA),
    )
    return torch.where(said_CA, log_likelihood_CA, 0.0)


def log_likelihood(difference_CA: np.ndarray, preference_CA: np.ndarray, noise_sd_A: np.ndarray) -> np.ndarray:
    """Of each answer; 0 where nothing was said."""
    z_CA = difference_CA / (TEMPERATURE_PER_NOISE_SD * noise_sd_A)
    low_CA, high_CA = log_expit(z_CA + TIE_WIDTH), log_expit(TIE_WIDTH - z_CA)
    answers = [preference_CA == PREFERS_FIRST, preference_CA == PREFERS_SECOND, preference_CA == TIE]
    said = [log_expit(z_CA - TIE_WIDTH), log_expit(-z_CA - TIE_WIDTH), low_CA + high_CA + _LOG_TIE_SHARE]
    return np.select(answers, said, 0.0)


def slope_and_curvature(
    difference_CA: np.ndarray, preference_CA: np.ndarray, noise_sd_A: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """First derivative of each log likelihood by the difference, and minus the second, which is above 0.

    Both are 0 where nothing was said. Per unit of the difference, and of its square.
    """
    temperature_A = TEMPERATURE_PER_NOISE_SD * noise_sd_A
    z_CA = difference_CA / temperature_A
    over_low_CA, over_high_CA = expit(z_CA + TIE_WIDTH), expit(z_CA - TIE_WIDTH)
    is_first_CA, is_second_CA = preference_CA == PREFERS_FIRST, preference_CA == PREFERS_SECOND
    is_tie_CA = ~(is_first_CA | is_second_CA | np.isnan(preference_CA))
    at_high_CA, at_low_CA = is_first_CA | is_tie_CA, is_second_CA | is_tie_CA  # the thresholds that an answer is about
    slope_CA = at_high_CA * (1.0 - over_high_CA) - at_low_CA * over_low_CA
    curvature_CA = at_high_CA * over_high_CA * (1.0 - over_high_CA) + at_low_CA * over_low_CA * (1.0 - over_low_CA)
    return slope_CA / temperature_A, curvature_CA / np.square(temperature_A)


def information(difference_CA: Tensor, noise_sd_A: Tensor) -> Tensor:
    """Fisher information of one comparison about the difference: the curvature, mean over the three answers."""
    temperature_A = TEMPERATURE_PER_NOISE_SD * noise_sd_A
    z_CA = difference_CA / temperature_A
    over_high_CA, over_low_CA = torch.sigmoid(z_CA - TIE_WIDTH), torch.sigmoid(z_CA + TIE_WIDTH)
    # A first or a tie has the curvature at the upper threshold, a second or a tie that at the lower one.
    high_CA = over_high_CA * (1.0 - over_high_CA) * over_low_CA
    low_CA = over_low_CA * (1.0 - over_low_CA) * (1.0 - over_high_CA)
    return (high_CA + low_CA) / temperature_A.square()
