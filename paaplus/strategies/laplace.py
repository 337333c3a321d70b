"""Comparisons in a closed-form fit: each becomes a rating of a difference, weighed anew until nothing moves.

At the mode of the posterior, the likelihood of a comparison and the Gaussian one of its working row have the same
slope and curvature: the fit with these rows is Laplace's approximation. Getting there is Newton's method.
Shape letters: C = comparisons of one aspect.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from paaplus.errors import DivergedError
from paaplus.strategies.comparisons import TEMPERATURE_PER_NOISE_SD, slope_and_curvature

_MAX_ITERATIONS = 100
_TOLERANCE = 1e-10  # in units of the comparisons' temperature
_LONGEST_STEP = 1.5  # in the same units: a curvature changes by a small factor only, so that every step is downhill
_WEIGHTLESS = 1e9
_SMALLEST_CURVATURE = 1e-9  # an answer that is as good as certain, or certainly wrong

FitDifference = Callable[[np.ndarray, np.ndarray], np.ndarray]


def working_rows(
    fit_difference: FitDifference, preference_C: np.ndarray, weight_C: np.ndarray, noise_sd: float
) -> tuple[np.ndarray, np.ndarray]:
    """Targets and noise sds of the rows that stand for comparisons, shapes (C,), float64.

    The same input gives the same bits: nothing else is read.

    Args:
        fit_difference: fits everything else together with rows of these targets and noise sds, and returns the
            fitted differences, first image's score minus second's.
        preference_C: 1, 0 or 0.5, none missing.
        weight_C: how much each comparison counts, > 0.
        noise_sd: of a rating.

    Raises:
        DivergedError: no mode was found, which a proper prior rules out.
    """
    temperature = TEMPERATURE_PER_NOISE_SD * noise_sd
    # Begin at what everything but the comparisons says: with rows that weigh nothing.
    difference_C = fit_difference(np.zeros(len(preference_C)), np.full(len(preference_C), _WEIGHTLESS * noise_sd))
    for _ in range(_MAX_ITERATIONS):
        slope_C, curvature_C = slope_and_curvature(difference_C, preference_C, np.array(noise_sd))
        # Where a fit ends does not depend on the curvature of a row, only how it gets there.
        curvature_C = np.maximum(curvature_C, _SMALLEST_CURVATURE / temperature**2)
        target_C, noise_sd_C = difference_C + slope_C / curvature_C, 1.0 / np.sqrt(weight_C * curvature_C)
        step_C = fit_difference(target_C, noise_sd_C) - difference_C
        longest = float(np.abs(step_C).max(initial=0.0)) / temperature
        if longest < _TOLERANCE:
            return target_C, noise_sd_C
        difference_C = difference_C + step_C * min(1.0, _LONGEST_STEP / longest)
    raise DivergedError(f"no mode of {len(preference_C)} comparisons after {_MAX_ITERATIONS} Newton steps")
