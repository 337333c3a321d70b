"""Stars of predicted scores, by thresholds of the person's own: as many of each as the person gives.

A prediction is nearer to the mean than a rating, so equal steps of the score would give hardly any 1 or 5 stars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

NUM_STARS: Final = 5
MIN_RATINGS: Final = 10  # with fewer, the shares are the usual ones
USUAL_SHARES: Final = (0.1, 0.2, 0.4, 0.2, 0.1)  # of 1 to 5 stars


@dataclass(frozen=True, slots=True)
class StarThresholds:
    """The least scores of 2, 3, 4 and 5 stars. `is_personal`: they are from the person's own ratings."""

    least: tuple[float, ...]
    is_personal: bool

    def stars(self, score: float) -> int:
        """1 to 5."""
        return 1 + sum(score >= least for least in self.least)


def star_thresholds(
    scores: Sequence[float], rated_scores: Sequence[float], rated_stars: Sequence[int]
) -> StarThresholds:
    """Thresholds such that the predicted stars of the rated photographs are distributed like those that were given.

    Args:
        scores: predicted scores of all photographs; they are used while there are few ratings.
        rated_scores: predicted scores of the rated ones.
        rated_stars: the stars that the person gave them, 1 to 5.
    """
    is_personal = len(rated_stars) >= MIN_RATINGS
    if is_personal:
        # Half a rating more of each number of stars, so that none has a share of 0.
        counts = np.bincount(np.asarray(rated_stars, int), minlength=NUM_STARS + 1)[1 : NUM_STARS + 1] + 0.5
        shares, among = counts / counts.sum(), rated_scores
    else:
        shares, among = np.array(USUAL_SHARES), scores
    least = np.quantile(np.asarray(among, float), np.cumsum(shares)[:-1]) if len(among) else np.zeros(NUM_STARS - 1)
    return StarThresholds(tuple(map(float, least)), is_personal)
