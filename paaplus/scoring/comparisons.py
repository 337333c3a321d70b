"""The likelihood of comparisons and likes: Bradley-Terry with ties, on the scale of the ratings' noise. NumPy only.

A person's rating of an image is modelled as `score + noise`; a comparison as the difference of two such values. The
difference of two normal noises is nearly logistic, and the logistic distribution of the same variance has the scale
`temperature = sqrt(6) / pi * noise_sd`. With `z = (first score - second score) / temperature`:

    P(first) = sigmoid(z - TIE_WIDTH)      P(second) = sigmoid(-z - TIE_WIDTH)      P(tie) = the rest

The answer is a tie if the values differ by less than `TIE_WIDTH * temperature`. At ln 2 (Rao and Kupper's theta of 2)
the three answers are equally likely for two images of equal score; with a noise of 1 point, the width is half a point.

A like compares one such value with the person's middle, and has no tie. With
`z = (score - middle) / (LIKE_TEMPERATURE_PER_NOISE_SD * noise_sd)`:

    P(liked) = sigmoid(z)                  P(disliked) = sigmoid(-z)

This file and its twin for torch, `strategies/likelihood.py`, are all that knows how an answer depends on scores: a
further kind of answer needs a code in `records`, a line in each of the two, and its rows (`services/feedback`).

Source: Rao & Kupper, "Ties in paired-comparison experiments" (JASA 1967).
Shape letters: C = comparisons, A = aspects. Preferences are 1 (first), 0 (second), 0.5 (tie), 2 (liked), -1
(disliked), NaN (no answer).
"""

from __future__ import annotations

import math

import numpy as np

from paaplus.records import DISLIKED, LIKED, PREFERS_FIRST, PREFERS_SECOND, TIE, is_like

TIE_WIDTH = math.log(2.0)
TEMPERATURE_PER_NOISE_SD = math.sqrt(6.0) / math.pi
LIKE_TEMPERATURE_PER_NOISE_SD = math.sqrt(3.0) / math.pi  # one normal noise, as above; see docs/decisions/0026
LOG_TIE_SHARE = math.log1p(-math.exp(-2.0 * TIE_WIDTH))


def log_likelihood(difference_CA: np.ndarray, preference_CA: np.ndarray, noise_sd_A: np.ndarray) -> np.ndarray:
    """Log likelihood of each answer, shape (C, A), float64; 0 where there is no answer.

    Args:
        difference_CA: score of the first image minus that of the second, or minus the middle.
        preference_CA: the answers.
        noise_sd_A: standard deviation of a rating's noise, in score points.
    """
    from scipy.special import log_expit  # imported here: the scheduler needs the constants of this file only

    z_CA = difference_CA / (TEMPERATURE_PER_NOISE_SD * noise_sd_A)
    low_CA, high_CA = log_expit(z_CA + TIE_WIDTH), log_expit(TIE_WIDTH - z_CA)
    answers = [preference_CA == PREFERS_FIRST, preference_CA == PREFERS_SECOND, preference_CA == TIE]
    values = [log_expit(z_CA - TIE_WIDTH), log_expit(-z_CA - TIE_WIDTH), low_CA + high_CA + LOG_TIE_SHARE]
    if is_like(preference_CA).any():
        z_CA = difference_CA / (LIKE_TEMPERATURE_PER_NOISE_SD * noise_sd_A)
        answers += [preference_CA == LIKED, preference_CA == DISLIKED]
        values += [log_expit(z_CA), log_expit(-z_CA)]
    return np.select(answers, values, 0.0)


def slope_and_curvature(
    difference_CA: np.ndarray, preference_CA: np.ndarray, noise_sd_A: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """First derivative of each log likelihood by the difference, and minus the second; each of shape (C, A).

    The second is above 0. Both are 0 where there is no answer. Arguments are those of `log_likelihood`.
    """
    from scipy.special import expit  # imported here, as above

    temperature_A = TEMPERATURE_PER_NOISE_SD * noise_sd_A
    z_CA = difference_CA / temperature_A
    over_low_CA, over_high_CA = expit(z_CA + TIE_WIDTH), expit(z_CA - TIE_WIDTH)
    is_first_CA, is_second_CA = preference_CA == PREFERS_FIRST, preference_CA == PREFERS_SECOND
    is_tie_CA = preference_CA == TIE
    at_high_CA, at_low_CA = is_first_CA | is_tie_CA, is_second_CA | is_tie_CA  # the thresholds that bound each answer
    slope_CA = at_high_CA * (1.0 - over_high_CA) - at_low_CA * over_low_CA
    curvature_CA = at_high_CA * over_high_CA * (1.0 - over_high_CA) + at_low_CA * over_low_CA * (1.0 - over_low_CA)
    slope_CA, curvature_CA = slope_CA / temperature_A, curvature_CA / np.square(temperature_A)
    is_like_CA = is_like(preference_CA)
    if is_like_CA.any():
        temperature_A = LIKE_TEMPERATURE_PER_NOISE_SD * noise_sd_A
        liked_CA = expit(difference_CA / temperature_A)
        slope_CA = np.where(is_like_CA, ((preference_CA == LIKED) - liked_CA) / temperature_A, slope_CA)
        like_CA = liked_CA * (1.0 - liked_CA) / np.square(temperature_A)
        curvature_CA = np.where(is_like_CA, like_CA, curvature_CA)
    return slope_CA, curvature_CA
