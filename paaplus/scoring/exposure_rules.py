"""Exposure rules: scores of an exposure map by five presets, or by one person's own rule. NumPy only.

A preset is a list of curves over shares of the image that are too dark or too bright: in all, in the subject, in the
background. The score is the lowest that any curve gives, so it never rises when a share rises. The published tables
leave gaps and overlap. Between stated points, a curve is linear. Points that no table states are marked "ours".

There is no detector of subjects: the subject is the ellipse in the middle, half as wide and half as high as the
image, unless a mask is given.

A person's own rule is a pure function of the person's ratings. First a preset is selected: the one that predicts each
rating best after its scores are shifted by the mean difference of the other ratings. Then its scores are calibrated.
Deleting a rating therefore gives exactly the rule without that rating.

Source:
    P-IEANet's second version: scene rules over shares of under- and over-exposed area, there on a scale of 0-100.
Shape letters: H, W = pixels of a map, N = ratings, P = presets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.scoring.calibration import Calibration, fit_calibration

THRESHOLD = 0.2  # of the map: beyond it a place counts as too dark or too bright; no published one exists
MIN_RATINGS = 5

Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Shares:
    """Shares 0-1 of pixels that are too dark or too bright: of the image, of its subject, of the background."""

    under: float
    over: float
    subject_under: float
    subject_over: float
    background_under: float
    background_over: float

    @property
    def total(self) -> float:
        return min(self.under + self.over, 1.0)

    @property
    def subject(self) -> float:
        return min(self.subject_under + self.subject_over, 1.0)

    @property
    def background(self) -> float:
        return min(self.background_under + self.background_over, 1.0)


_LANDSCAPE: Curve = ((0.02, 10), (0.05, 8), (0.10, 6), (0.20, 4), (0.30, 2), (0.40, 1), (1.0, 0))
_SUBJECT: Curve = ((0.0, 10), (0.10, 6), (0.20, 4), (0.30, 2), (1.0, 0))


def _portrait(shares: Shares) -> float:
    return min(
        _on(_SUBJECT, shares.subject),
        _on(((0.10, 10), (0.30, 8), (0.40, 6), (1.0, 0)), shares.total),
        _on(((0.10, 10), (0.20, 9)), shares.background),
    )


def _strict_landscape(shares: Shares) -> float:
    return _on(_LANDSCAPE, shares.total)


def _street(shares: Shares) -> float:
    return min(
        _on(((0.30, 10), (0.40, 6), (1.0, 0)), shares.total),
        _on(((0.30, 10), (0.50, 2), (1.0, 0)), shares.under),
        _on(((0.02, 10), (0.05, 9), (0.20, 4), (1.0, 0)), shares.background_over),  # up to .05 ours
        _on(_SUBJECT, shares.subject),  # ours: darkness is free only outside the subject
    )


def _night(shares: Shares) -> float:
    return min(
        _on(((0.40, 10), (1.0, 0)), shares.under),
        _on(((0.05, 10), (0.10, 8), (0.15, 6), (0.20, 4), (0.50, 2), (1.0, 0)), shares.over),
    )


def _product(shares: Shares) -> float:
    return min(
        _on(((0.40, 10), (1.0, 4)), shares.background_over),  # its end ours
        _on(_LANDSCAPE, shares.background_under),  # ours
        _on(((0.0, 10), (0.05, 8), (0.10, 6), (0.20, 2), (1.0, 0)), shares.subject_under),
        _on(((0.0, 10), (0.10, 6), (0.20, 4), (1.0, 0)), shares.subject_over),
    )


PRESETS: Mapping[str, Callable[[Shares], float]] = {
    "portrait": _portrait,
    "landscape": _strict_landscape,
    "street": _street,
    "night": _night,
    "product": _product,
}


def shares(map_HW: np.ndarray, subject_HW: np.ndarray | None = None) -> Shares:
    """Shares of a signed map (above 0 too dark).

    Args:
        subject_HW: True where the subject is; None: the ellipse in the middle. An empty mask means no subject.

    Raises:
        InvalidInput: a mask of another shape.
    """
    if subject_HW is None:
        subject_HW = middle_ellipse(*map_HW.shape)
    if subject_HW.shape != map_HW.shape or subject_HW.dtype != bool:
        raise InvalidInput(f"a mask of {subject_HW.shape} {subject_HW.dtype} for a map of {map_HW.shape}")
    under_HW, over_HW = map_HW > THRESHOLD, map_HW < -THRESHOLD
    return Shares(
        under=float(under_HW.mean()),
        over=float(over_HW.mean()),
        subject_under=_share(under_HW, subject_HW),
        subject_over=_share(over_HW, subject_HW),
        background_under=_share(under_HW, ~subject_HW),
        background_over=_share(over_HW, ~subject_HW),
    )


def middle_ellipse(height: int, width: int) -> np.ndarray:
    """The ellipse in the middle, half as high and half as wide as the map, shape (H, W), bool."""
    row_H, column_W = ((np.arange(size) + 0.5) / size - 0.5 for size in (height, width))
    return np.square(row_H / 0.25)[:, None] + np.square(column_W / 0.25)[None] <= 1.0


@dataclass(frozen=True, eq=False)
class OwnRule:
    """A person's own rule. `errors`: by preset, the root mean square error on ratings left out, in points."""

    preset: str
    calibration: Calibration
    num_ratings: int
    errors: Mapping[str, float]

    def score(self, preset_scores: Mapping[str, float]) -> float:
        """The score 0-10 of an image, from its scores by the presets."""
        return float(self.calibration.apply(np.array([preset_scores[self.preset]]))[0])


def fit_own_rule(preset_scores: Mapping[str, np.ndarray], rating_N: np.ndarray) -> OwnRule:
    """The rule that fits the ratings best.

    Args:
        preset_scores: by preset, its scores of the rated images, shape (N,), 0-10.
        rating_N: the person's ratings of these images, 0-10, in the same order. Another order of the images can
            change the last bits of a sum.

    Raises:
        InvalidInput: fewer than `MIN_RATINGS`, or arrays that do not fit.
    """
    rating_N = np.asarray(rating_N, np.float64)
    if len(rating_N) < MIN_RATINGS:
        raise InvalidInput(f"{len(rating_N)} ratings of exposure; an own rule needs {MIN_RATINGS}")
    if set(preset_scores) != set(PRESETS) or any(len(one_N) != len(rating_N) for one_N in preset_scores.values()):
        raise InvalidInput(f"scores of presets {sorted(preset_scores)} for {len(rating_N)} ratings")
    errors = {}
    for preset in PRESETS:
        raw_N = np.asarray(preset_scores[preset], np.float64)
        offset_N = rating_N - raw_N
        others_N = (offset_N.sum() - offset_N) / (len(offset_N) - 1)
        # No slope is fitted here: with a slope, the other presets would fit almost as well.
        errors[preset] = float(np.sqrt(np.square(raw_N + others_N - rating_N).mean()))
    preset = min(PRESETS, key=lambda name: errors[name])  # of equal ones the first
    calibration, _ = fit_calibration(np.asarray(preset_scores[preset], np.float64), rating_N)
    return OwnRule(preset, calibration, len(rating_N), errors)


def _on(curve: Curve, share: float) -> float:
    """Straight between the curve's points, constant before the first and after the last."""
    share_K, score_K = np.array(curve, np.float64).T
    return float(np.interp(share, share_K, score_K))


def _share(found_HW: np.ndarray, where_HW: np.ndarray) -> float:
    return float(found_HW[where_HW].mean()) if where_HW.any() else 0.0
