"""What experts' reviews teach a tool about its own numbers: one map of scores an aspect, affine or isotonic.

*Affine*: `said = mean raw + offset + slope * (raw - mean raw)`. The offset is shrunken toward 0. The slope is a mean of
shrunken ones: toward 1 (the tool is right but for an offset), or toward 0 (it knows nothing, and the mean is best),
by different amounts, each weighed by how well it explains the reviews (empirical Bayes over a small grid). With one
review it so lies close to the raw score, with a few between "add a constant" and "say the mean"; with many it is
ordinary regression.

*Isotonic*: the best map that only keeps the order. *Mean*: the tool says nothing. Either is used only where leaving
reviews out says that it is better, by more than the standard error of that difference.

No map loses the tool's order: each rises by `MIN_SLOPE` a point at least, so that a few reviews by chance neither turn
the order round nor make all images equal. Equal are only scores that are cut at 0 or 10. On a range of 10 points it is
a tenth of a point, which costs nothing where the tool knows nothing.

Shape letters: N = reviews, B = scores, G = grid of shrinkages, K = knots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.records import SCORE_MAX, SCORE_MIN

KINDS = ("affine", "isotonic", "mean")
MIN_SLOPE = 0.01  # points of the map for a point of the tool
_SLOPE_MEAN_G = np.array([1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
_SLOPE_SD_G = np.array([0.0, 0.0, 0.15, 0.15, 0.4, 0.4, 0.8, 0.8])
_NOISE_SD = 2.0  # score points: what is believed of one review's distance from the map before there are any,
_NOISE_WEIGHT = 4.0  # and as many reviews that is worth
_OFFSET_SD = 1.5  # score points: how far a tool as a whole is taken to be off
_NO_SPREAD = 1e-9
_MIN_CHOICE = 20  # reviews: with fewer it is affine, which shrinks anyway
_MAX_LEFT_OUT = 100  # more reviews are left out in as many groups


@dataclass(frozen=True, eq=False)
class Calibration:
    """A map of raw scores, straight between its knots and beyond them as `kind` says: affine goes on, others stay."""

    kind: str
    raw_K: np.ndarray
    said_K: np.ndarray

    def __post_init__(self) -> None:
        if (
            self.kind not in KINDS
            or self.raw_K.shape != self.said_K.shape
            or self.raw_K.ndim != 1
            or not len(self.raw_K)
        ):
            raise InvalidInput(f"calibration {self.kind!r:.40} of {self.raw_K.shape} and {self.said_K.shape} knots")
        if not (np.isfinite(self.raw_K).all() and np.isfinite(self.said_K).all() and (np.diff(self.raw_K) > 0).all()):
            raise InvalidInput("a calibration whose knots are not finite, or do not rise")
        if self.kind == "affine" and len(self.raw_K) != 2:
            raise InvalidInput(f"an affine calibration has 2 knots, not {len(self.raw_K)}")

    def apply(self, raw_B: np.ndarray) -> np.ndarray:
        """Scores as the experts would give them, cut to 0-10, shape (B,), float64."""
        raw_B = np.asarray(raw_B, np.float64)
        if self.kind == "affine":
            (x, x_end), (y, y_end) = self.raw_K, self.said_K
            said_B = y + (raw_B - x) * (y_end - y) / (x_end - x)
        else:
            said_B = np.interp(raw_B, self.raw_K, self.said_K)
        return np.clip(said_B, SCORE_MIN, SCORE_MAX)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "raw": self.raw_K.tolist(), "said": self.said_K.tolist()}

    @classmethod
    def from_json(cls, document: Any) -> Calibration:
        """What `to_json` wrote.

        Raises:
            InvalidInput: something else.
        """
        try:
            raw_K, said_K = (np.array(document[name], np.float64) for name in ("raw", "said"))
            return cls(str(document["kind"]), raw_K, said_K)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"not a calibration: {str(error)[:100]}") from error


IDENTITY = Calibration("affine", np.array([SCORE_MIN, SCORE_MAX]), np.array([SCORE_MIN, SCORE_MAX]))


def fit_calibration(raw_N: np.ndarray, said_N: np.ndarray) -> tuple[Calibration, dict[str, Any]]:
    """The map from raw scores to what experts said of the same images, and how it does on reviews left out.

    Args:
        raw_N: the tool's scores.
        said_N: the experts', on the same scale; none of them NaN.

    Returns:
        The map, and `num_reviews`, `kind`, and the mean absolute errors on left-out reviews: of the raw scores, of the
        mean alone, of each kind.
    """
    raw_N, said_N = np.asarray(raw_N, np.float64), np.asarray(said_N, np.float64)
    if len(raw_N) < 2:
        return _affine(raw_N, said_N), {"num_reviews": len(raw_N), "kind": "affine"}
    fits = {"affine": _affine, "mean": _mean}
    if len(raw_N) >= _MIN_CHOICE:
        fits["isotonic"] = _isotonic
    left_out = {kind: left_out_predictions(raw_N, said_N, fit) for kind, fit in fits.items()}
    kind = "affine"
    for other in ("mean", "isotonic"):
        if len(raw_N) >= _MIN_CHOICE and _is_better(left_out[other] - said_N, left_out[kind] - said_N):
            kind = other
    errors = {name: float(np.abs(guess_N - said_N).mean()) for name, guess_N in left_out.items()}
    report = {
        "num_reviews": len(raw_N),
        "kind": kind,
        "mae_raw": float(np.abs(raw_N - said_N).mean()),
        **{f"mae_{name}": error for name, error in errors.items()},
    }
    return fits[kind](raw_N, said_N), report


def left_out_predictions(raw_N: np.ndarray, said_N: np.ndarray, fit: Any) -> np.ndarray:
    """What a map fitted without a review says of it, shape (N,); of many reviews in groups."""
    guess_N = np.empty(len(raw_N))
    group_N = np.arange(len(raw_N)) % _MAX_LEFT_OUT
    for group in range(min(len(raw_N), _MAX_LEFT_OUT)):
        out_N = group_N == group
        guess_N[out_N] = fit(raw_N[~out_N], said_N[~out_N]).apply(raw_N[out_N])
    return guess_N


def _is_better(error_N: np.ndarray, other_N: np.ndarray) -> bool:
    """Whether the first errors are smaller by more than the difference is known to."""
    gain_N = np.square(other_N) - np.square(error_N)
    return bool(gain_N.mean() > gain_N.std(ddof=1) / np.sqrt(len(gain_N)))


def _affine(raw_N: np.ndarray, said_N: np.ndarray) -> Calibration:
    if not len(raw_N):
        return IDENTITY
    raw, said = float(raw_N.mean()), float(said_N.mean())
    spread = float(np.square(raw_N - raw).sum())
    found = float((raw_N - raw) @ (said_N - said)) / spread if spread > _NO_SPREAD else 0.0
    left = float(np.square(said_N - said - found * (raw_N - raw)).sum())
    noise = (_NOISE_WEIGHT * _NOISE_SD**2 + left) / (_NOISE_WEIGHT + max(len(raw_N) - 2, 0))
    level = raw + (said - raw) / (1.0 + noise / (len(raw_N) * _OFFSET_SD**2))
    slope = _slope(found, noise / spread) if spread > _NO_SPREAD else float(_SLOPE_MEAN_G.mean())
    return Calibration("affine", np.array([raw - 5.0, raw + 5.0]), np.array([level - 5.0 * slope, level + 5.0 * slope]))


def _slope(found: float, error: float) -> float:
    """Posterior mean over the grid of a slope that was found with this variance of its error."""
    variance_G = np.square(_SLOPE_SD_G) + error
    log_weight_G = -0.5 * (np.square(found - _SLOPE_MEAN_G) / variance_G + np.log(variance_G))
    weight_G = np.exp(log_weight_G - log_weight_G.max())
    slope_G = _SLOPE_MEAN_G + (found - _SLOPE_MEAN_G) * np.square(_SLOPE_SD_G) / variance_G
    return max(float(weight_G @ slope_G / weight_G.sum()), MIN_SLOPE)


def _mean(raw_N: np.ndarray, said_N: np.ndarray) -> Calibration:
    mean = float(said_N.mean()) if len(said_N) else (SCORE_MIN + SCORE_MAX) / 2
    raw = float(raw_N.mean()) if len(raw_N) else (SCORE_MIN + SCORE_MAX) / 2
    # moved where the scale's end would cut it: all said 10, say
    low = min(max(mean - MIN_SLOPE * (raw - SCORE_MIN), SCORE_MIN), SCORE_MAX - MIN_SLOPE * (SCORE_MAX - SCORE_MIN))
    ends_K = np.array([SCORE_MIN, SCORE_MAX])
    return Calibration("mean", ends_K, low + MIN_SLOPE * (ends_K - SCORE_MIN))


def _isotonic(raw_N: np.ndarray, said_N: np.ndarray) -> Calibration:
    """Pooled adjacent violators over the distinct raw scores."""
    from scipy.optimize import isotonic_regression  # here only: what applies a map needs no scipy

    raw_K, place_N, count_K = np.unique(raw_N, return_inverse=True, return_counts=True)
    fitted = isotonic_regression(np.bincount(place_N, said_N) / count_K, weights=count_K.astype(np.float64))
    # steps rise a little, and so do the ends, to the limits of the scale
    ends_K = np.union1d(raw_K, [SCORE_MIN, SCORE_MAX])
    said_K = np.interp(ends_K, raw_K, fitted.x) + MIN_SLOPE * (ends_K - float(raw_N.mean()))
    low, high = min(float(said_K[0]), SCORE_MIN), max(float(said_K[-1]), SCORE_MAX)
    squeezed_K = SCORE_MIN + (said_K - low) * (SCORE_MAX - SCORE_MIN) / (high - low)  # inside nothing is cut
    return Calibration("isotonic", ends_K, squeezed_K)
