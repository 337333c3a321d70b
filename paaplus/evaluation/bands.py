"""Errors where ratings are rare: the mean absolute error in bands of ratings and of themes.

People rate mostly in the middle. A model that learns only the middle has a low error on average and a high one where it
matters: on the images that a person likes most and least, and on themes that few images show.

Shape letters: N = rated images, A = aspects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from paaplus.data.folder import DataFolder
from paaplus.evaluation.agreement import rated_columns
from paaplus.metrics import mae

BANDS = ("rare_low", "middle", "rare_high", "frequent_themes", "rare_themes")
HEADINGS = ("method", "rare low", "middle", "rare high", "frequent themes", "rare themes")
LOW_PERCENTILE, HIGH_PERCENTILE = 20.0, 80.0
RARE_SHARE = 0.2  # of the ratings of the most frequent theme: a theme with fewer is rare
_THEME_COLUMNS = ("theme", "category")  # of images.csv; the first that is there

Errors = dict[str, float | None]


def band_errors(
    score_N: np.ndarray,
    rating_N: np.ndarray,
    theme_N: Sequence[str | None] | None = None,
    rare_themes: Collection[str] = (),
    cuts: tuple[float, float] | None = None,
) -> Errors:
    """MAE in every band of `BANDS`; None where a band is empty.

    Args:
        score_N: predicted scores, 0-10.
        rating_N: ratings on the same scale.
        theme_N: the theme of each image; None: unknown.
        rare_themes: the themes that count as rare.
        cuts: ratings at or below the first are low, at or above the second high. None: the 20th and 80th percentile of
            `rating_N`; if they are equal, no rating is rare.
    """
    score_N, rating_N = np.asarray(score_N, np.float64), np.asarray(rating_N, np.float64)
    low, high = cuts or tuple(np.percentile(rating_N, [LOW_PERCENTILE, HIGH_PERCENTILE])) if len(rating_N) else (0, 0)
    low_N, high_N = rating_N <= low, rating_N >= high
    if low >= high:
        low_N = high_N = np.zeros(len(rating_N), bool)
    themes = list(theme_N) if theme_N is not None else [None] * len(rating_N)
    known_N = np.array([theme is not None for theme in themes], bool)
    rare_N = np.array([theme in rare_themes for theme in themes], bool)
    members = (low_N, ~(low_N | high_N), high_N, known_N & ~rare_N, known_N & rare_N)
    return {
        band: mae(score_N[in_N], rating_N[in_N]) if in_N.any() else None
        for band, in_N in zip(BANDS, members, strict=True)
    }


def rare_themes(counts: Mapping[str, int]) -> frozenset[str]:
    """The themes with fewer ratings than a fifth of those of the most frequent theme."""
    most = max(counts.values(), default=0)
    return frozenset(theme for theme, count in counts.items() if count < RARE_SHARE * most)


class Bands:
    """The band errors of several methods on the same people, collected while a study runs.

    The themes are the column `theme` (or `category`) of the folder's images.csv. Without it, theme bands are empty.
    """

    def __init__(self, folder: DataFolder) -> None:
        columns = [folder.image_columns.get(image, {}) for image in folder.images]
        self._theme_I = [next((one[name] for name in _THEME_COLUMNS if one.get(name)), None) for one in columns]
        rated = [theme for image in folder.image_N.tolist() if (theme := self._theme_I[image]) is not None]
        self._rare = rare_themes(Counter(rated))
        self._errors: dict[str, dict[str, list[Errors]]] = {}

    def add(
        self,
        method: str,
        user_id: str,
        score_NA: np.ndarray,
        target_NA: np.ndarray,
        image_N: np.ndarray | Sequence[int],
    ) -> None:
        """Measure one method's scores of one person's images. The bands are of the person's own ratings."""
        images = np.asarray(image_N, np.int64)
        of_person = self._errors.setdefault(method, {}).setdefault(user_id, [])
        for (score_N, target_N), column_N in zip(rated_columns(score_NA, target_NA), target_NA.T, strict=True):
            themes = [self._theme_I[i] for i in images[~np.isnan(column_N)].tolist()]
            if len(score_N):
                of_person.append(band_errors(score_N, target_N, themes, self._rare))

    def summary(self) -> dict[str, Errors]:
        """Per method and band, the mean over people of each person's mean; None where it is defined for nobody."""
        return {method: {band: _mean(people, band) for band in BANDS} for method, people in self._errors.items()}


def rows(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A document's entry `bands` as rows of text under `HEADINGS`; none if there is no such entry."""
    return [
        (method, *("-" if errors[band] is None else f"{errors[band]:.3f}" for band in BANDS))
        for method, errors in document.get("bands", {}).items()
    ]


EXPLANATION = (
    "Mean absolute error in score points, mean over people. Rare low and rare high: ratings at or below the 20th and "
    "at or above the 80th percentile of what the person gave. Rare themes have fewer than a fifth of the ratings of "
    "the most frequent theme. A hyphen: nothing to measure."
)


def _mean(people: Mapping[str, Sequence[Errors]], band: str) -> float | None:
    means = []
    for errors in people.values():
        if values := [value for one in errors if (value := one[band]) is not None]:
            means.append(float(np.mean(values)))
    return float(np.mean(means)) if means else None
