"""The likelihood of a comparison: Bradley-Terry with ties, on the scale of the Gaussian one of ratings. NumPy only.

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
from scipy.special import expit, log_expit

from paaplus.records import PREFERS_FIRST, PREFERS_SECOND, TIE

TIE_WIDTH = math.log(2.0)
TEMPERATURE_PER_NOISE_SD = math.sqrt(6.0) / math.pi
LOG_TIE_SHARE = math.log1p(-math.exp(-2.0 * TIE_WIDTH))


def log_likelihood(difference_CA: np.ndarray, preference_CA: np.ndarray, noise_sd_A: np.ndarray) -> np.ndarray:
    """Of each answer; 0 where nothing was said."""
    z_CA = difference_CA / (TEMPERATURE_PER_NOISE_SD * noise_sd_A)
    low_CA, high_CA = log_expit(z_CA + TIE_WIDTH), log_expit(TIE_WIDTH - z_CA)
    answers = [preference_CA == PREFERS_FIRST, preference_CA == PREFERS_SECOND, preference_CA == TIE]
    said = [log_expit(z_CA - TIE_WIDTH), log_expit(-z_CA - TIE_WIDTH), low_CA + high_CA + LOG_TIE_SHARE]
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
