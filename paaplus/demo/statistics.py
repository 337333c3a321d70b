"""Statistics of the report: SRCC per person, and the mean over people with its interval.

Shape letters: U = people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from paaplus.metrics import srcc

NUM_RESAMPLES = 10_000

Scores = Mapping[str, Mapping[str, float]]  # image -> aspect -> value


def agreement(scores: Scores, ratings: Scores, images: Sequence[str]) -> float:
    """SRCC of one person's scores and ratings of these images, the mean over aspects.

    Raises:
        KeyError: an image has no score.
        UndefinedMetric: all scores, or all ratings, of an aspect are the same.
    """
    aspects = sorted({aspect for image in images for aspect in ratings[image]})
    values = []
    for aspect in aspects:
        rated = [image for image in images if aspect in ratings[image]]
        score_N = np.array([scores[image][aspect] for image in rated])
        values.append(srcc(score_N, np.array([ratings[image][aspect] for image in rated])))
    return float(np.mean(values))


def mean_interval(value_U: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over people (percentiles of resampled means)."""
    values = np.asarray(value_U, float)
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(NUM_RESAMPLES, len(values)))].mean(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)
