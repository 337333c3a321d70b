"""Calibration of a tool: a map from its scores to those that experts gave, per aspect, affine or isotonic.

*Affine*: `expert = mean raw + offset + slope * (raw - mean raw)`. The offset is shrunken toward 0. The slope is an
average of shrunken slopes: some toward 1 (the tool is right up to an offset), some toward 0 (the tool carries no
information), by different amounts, each weighted by how well it explains the reviews (empirical Bayes over a small
grid). With one review, the map stays close to the raw score; with a few, it lies between "add a constant" and "predict
the mean"; with many, it is ordinary regression.

*Isotonic*: the best map that keeps the order. *Mean*: nearly a constant. Either is used only if its error on left-out
reviews is lower by more than the standard error of that difference.

No map loses the tool's order: every map rises by at least `MIN_SLOPE` per point, so a few reviews cannot reverse the
order by chance, nor make all images equal. Only scores cut at 0 or 10 become equal. Over the whole scale that is a
tenth of a point, which does no harm where the tool carries no information.

Shape letters: N = reviews, B = scores, G = grid of shrinkages, K = knots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.records import SCORE_MAX, SCORE_MIN

KINDS = ("affine", "isotonic", "mean")
MIN_SLOPE = 0.01  # points of the map per point of the tool
_SLOPE_MEAN_G = np.array([1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
_SLOPE_SD_G = np.array([0.0, 0.0, 0.15, 0.15, 0.4, 0.4, 0.8, 0.8])
_NOISE_SD = 2.0  # score points: prior standard deviation of one review around the map
_NOISE_WEIGHT = 4.0  # the number of reviews that the prior counts as
_OFFSET_SD = 1.5  # score points: prior standard deviation of a tool's offset
_NO_SPREAD = 1e-9
_MIN_CHOICE = 20  # reviews: with fewer the map is affine, which is shrunken
_MAX_LEFT_OUT = 100  # with more reviews, this many groups are left out instead of single reviews


@dataclass(frozen=True, eq=False)
class Calibration:
    """A piecewise linear map of raw scores. Beyond its knots, `affine` continues and the other kinds are constant.

    Raises:
        InvalidInput: an unknown kind, or knots that are not finite, do not rise or do not fit together.
    """

    kind: str
    raw_K: np.ndarray
    expert_K: np.ndarray

    def __post_init__(self) -> None:
        if (
            self.kind not in KINDS
            or self.raw_K.shape != self.expert_K.shape
            or self.raw_K.ndim != 1
            or not len(self.raw_K)
        ):
            raise InvalidInput(f"calibration {self.kind!r:.40} of {self.raw_K.shape} and {self.expert_K.shape} knots")
        if not (np.isfinite(self.raw_K).all() and np.isfinite(self.expert_K).all() and (np.diff(self.raw_K) > 0).all()):
            raise InvalidInput("a calibration whose knots are not finite, or do not rise")
        if self.kind == "affine" and len(self.raw_K) != 2:
            raise InvalidInput(f"an affine calibration has 2 knots, not {len(self.raw_K)}")

    def apply(self, raw_B: np.ndarray) -> np.ndarray:
        """The scores that experts would give, clipped to 0-10, shape (B,), float64."""
        raw_B = np.asarray(raw_B, np.float64)
        if self.kind == "affine":
            (x, x_end), (y, y_end) = self.raw_K, self.expert_K
            expert_B = y + (raw_B - x) * (y_end - y) / (x_end - x)
        else:
            expert_B = np.interp(raw_B, self.raw_K, self.expert_K)
        return np.clip(expert_B, SCORE_MIN, SCORE_MAX)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "raw": self.raw_K.tolist(), "said": self.expert_K.tolist()}

    @classmethod
    def from_json(cls, document: Any) -> Calibration:
        """What `to_json` wrote.

        Raises:
            InvalidInput: something else.
        """
        try:
            raw_K, expert_K = (np.array(document[name], np.float64) for name in ("raw", "said"))
            return cls(str(document["kind"]), raw_K, expert_K)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"not a calibration: {str(error)[:100]}") from error


IDENTITY = Calibration("affine", np.array([SCORE_MIN, SCORE_MAX]), np.array([SCORE_MIN, SCORE_MAX]))


def fit_calibration(raw_N: np.ndarray, expert_N: np.ndarray) -> tuple[Calibration, dict[str, Any]]:
    """Fit the map from a tool's scores to the experts' scores of the same images.

    Args:
        raw_N: the tool's scores, 0-10.
        expert_N: the experts' scores, 0-10; none is NaN.

    Returns:
        The map, and `num_reviews`, `kind`, and the mean absolute error of the raw scores and, on left-out reviews, of
        each kind.
    """
    raw_N, expert_N = np.asarray(raw_N, np.float64), np.asarray(expert_N, np.float64)
    if len(raw_N) < 2:
        return _affine(raw_N, expert_N), {"num_reviews": len(raw_N), "kind": "affine"}
    fits = {"affine": _affine, "mean": _mean}
    if len(raw_N) >= _MIN_CHOICE:
        fits["isotonic"] = _isotonic
    left_out = {kind: left_out_predictions(raw_N, expert_N, fit) for kind, fit in fits.items()}
    kind = "affine"
    for other in ("mean", "isotonic"):
        if len(raw_N) >= _MIN_CHOICE and _is_better(left_out[other] - expert_N, left_out[kind] - expert_N):
            kind = other
    errors = {name: float(np.abs(predicted_N - expert_N).mean()) for name, predicted_N in left_out.items()}
    report = {
        "num_reviews": len(raw_N),
        "kind": kind,
        "mae_raw": float(np.abs(raw_N - expert_N).mean()),
        **{f"mae_{name}": error for name, error in errors.items()},
    }
    return fits[kind](raw_N, expert_N), report


def left_out_predictions(raw_N: np.ndarray, expert_N: np.ndarray, fit: Any) -> np.ndarray:
    """Predictions of every review by a map fitted without it, or without its group if there are many; shape (N,)."""
    predicted_N = np.empty(len(raw_N))
    group_N = np.arange(len(raw_N)) % _MAX_LEFT_OUT
    for group in range(min(len(raw_N), _MAX_LEFT_OUT)):
        out_N = group_N == group
        predicted_N[out_N] = fit(raw_N[~out_N], expert_N[~out_N]).apply(raw_N[out_N])
    return predicted_N


def _is_better(error_N: np.ndarray, other_N: np.ndarray) -> bool:
    """Whether the first squared errors are lower by more than the standard error of the difference."""
    gain_N = np.square(other_N) - np.square(error_N)
    return bool(gain_N.mean() > gain_N.std(ddof=1) / np.sqrt(len(gain_N)))


def _affine(raw_N: np.ndarray, expert_N: np.ndarray) -> Calibration:
    if not len(raw_N):
        return IDENTITY
    raw_mean, expert_mean = float(raw_N.mean()), float(expert_N.mean())
    spread = float(np.square(raw_N - raw_mean).sum())
    fitted = float((raw_N - raw_mean) @ (expert_N - expert_mean)) / spread if spread > _NO_SPREAD else 0.0
    residual = float(np.square(expert_N - expert_mean - fitted * (raw_N - raw_mean)).sum())
    noise = (_NOISE_WEIGHT * _NOISE_SD**2 + residual) / (_NOISE_WEIGHT + max(len(raw_N) - 2, 0))
    level = raw_mean + (expert_mean - raw_mean) / (1.0 + noise / (len(raw_N) * _OFFSET_SD**2))
    slope = _slope(fitted, noise / spread) if spread > _NO_SPREAD else float(_SLOPE_MEAN_G.mean())
    return Calibration(
        "affine", np.array([raw_mean - 5.0, raw_mean + 5.0]), np.array([level - 5.0 * slope, level + 5.0 * slope])
    )


def _slope(fitted: float, error: float) -> float:
    """Posterior mean of a slope over the grid, given its estimate and the variance of the estimate's error."""
    variance_G = np.square(_SLOPE_SD_G) + error
    log_weight_G = -0.5 * (np.square(fitted - _SLOPE_MEAN_G) / variance_G + np.log(variance_G))
    weight_G = np.exp(log_weight_G - log_weight_G.max())
    slope_G = _SLOPE_MEAN_G + (fitted - _SLOPE_MEAN_G) * np.square(_SLOPE_SD_G) / variance_G
    return max(float(weight_G @ slope_G / weight_G.sum()), MIN_SLOPE)


def _mean(raw_N: np.ndarray, expert_N: np.ndarray) -> Calibration:
    """The mean, but for `MIN_SLOPE`."""
    middle = (SCORE_MIN + SCORE_MAX) / 2
    mean, raw_mean = (float(one_N.mean()) if len(one_N) else middle for one_N in (expert_N, raw_N))
    highest_start = SCORE_MAX - MIN_SLOPE * (SCORE_MAX - SCORE_MIN)  # a higher one would be cut at the scale's end
    start = min(max(mean - MIN_SLOPE * (raw_mean - SCORE_MIN), SCORE_MIN), highest_start)
    ends_K = np.array([SCORE_MIN, SCORE_MAX])
    return Calibration("mean", ends_K, start + MIN_SLOPE * (ends_K - SCORE_MIN))


def _isotonic(raw_N: np.ndarray, expert_N: np.ndarray) -> Calibration:
    """Pool adjacent violators over the distinct raw scores."""
    from scipy.optimize import isotonic_regression  # imported here, because applying a map needs no scipy

    raw_K, place_N, count_K = np.unique(raw_N, return_inverse=True, return_counts=True)
    fitted = isotonic_regression(np.bincount(place_N, expert_N) / count_K, weights=count_K.astype(np.float64))
    ends_K = np.union1d(raw_K, [SCORE_MIN, SCORE_MAX])
    expert_K = np.interp(ends_K, raw_K, fitted.x) + MIN_SLOPE * (ends_K - float(raw_N.mean()))
    low, high = min(float(expert_K[0]), SCORE_MIN), max(float(expert_K[-1]), SCORE_MAX)
    # brought within the scale instead of being cut at its ends, which would make scores equal
    return Calibration("isotonic", ends_K, SCORE_MIN + (expert_K - low) * (SCORE_MAX - SCORE_MIN) / (high - low))
