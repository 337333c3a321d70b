"""Agreement of scores with one person's ratings.

Shape letters: N = rated images, A = aspects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from paaplus.errors import InvalidInput, UndefinedMetric
from paaplus.metrics import srcc
from paaplus.records import RatedSet
from paaplus.scoring.adapters import Adapter


def scores(adapter: Adapter | None, rated: RatedSet) -> np.ndarray:
    """An adapter's scores (0-10) of the rated images, shape (N, A); for `None` the generic scores."""
    return rated.generic_NA if adapter is None else adapter.score(rated.taste_NR, rated.generic_NA)


def rated_columns(score_NA: np.ndarray, target_NA: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Per aspect, the scores and ratings of the images on which the aspect was rated, each of shape (num_rated,)."""
    for score_N, target_N in zip(score_NA.T, target_NA.T, strict=True):
        rated_N = ~np.isnan(target_N)
        yield score_N[rated_N], target_N[rated_N]


def mean_over_aspects(
    metric: Callable[[np.ndarray, np.ndarray], float], score_NA: np.ndarray, target_NA: np.ndarray
) -> float:
    """The mean over aspects of a metric over the rated images; NaN if it is undefined for one aspect."""
    try:
        return float(np.mean([metric(*column) for column in rated_columns(score_NA, target_NA)]))
    except (InvalidInput, UndefinedMetric):  # fewer than two ratings, or all of them equal
        return float("nan")


def mean_srcc(score_NA: np.ndarray, target_NA: np.ndarray) -> float:
    """SRCC, mean over aspects; NaN if it is undefined for one aspect."""
    return mean_over_aspects(srcc, score_NA, target_NA)
