"""The reward head: how good a label is for an image, learned from experts' reviews. NumPy only.

The reward of the label `y` for an image is `-(y - target)^2 / (2 * noise_sd^2)`. Here `target = label + design @
weight` is the label that the head would give: the tool's calibrated label plus a correction that is linear in taste
space. Bradley-Terry: one label is preferred to another with the probability `sigmoid(reward - other reward)`. Both
rewards have the same square of the target, so this is logistic regression: a preference says on which side of the
middle of two labels the target lies. Each review gives these preferences:

    corrected   the expert's label is preferred to the label that was shown
    both        the expert's label (also an accepted one) is preferred to a label `STEP` noise sds above it, and below
                it; labels outside of the scale are left out, because nobody could give them

With the second kind, an accepted label is evidence too, and corrections are bounded. With `STEP = 2`, its pair has
about the weight of one rating in the closed form. The weights have the base model's own prior.

The targets are the labels of the next round. The distance of a label from its target gives the probability that an
expert will correct it (`probability_corrected`).

Source: Bradley & Terry, "Rank analysis of incomplete block designs" (Biometrika 1952).
Shape letters: N = reviews, B = images, P = regressors, K = coordinates of the prior, C = preferences, A = aspects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.linalg import solve

from paaplus.records import SCORE_MAX, SCORE_MIN
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import OwnPrior, design
from paaplus.scoring.rows import rowwise_matmul

STEP = 2.0
WIDTH = 1.0  # score points: an expert corrects a label that is further away; a confidence is the probability of less
_MIN_CONFIDENCE, _MAX_CONFIDENCE = 0.05, 0.999
NUM_FOLDS = 5
MIN_REVIEWS = 2 * NUM_FOLDS
_MAX_STEPS = 50
_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class RewardHead:
    """Weights by aspect of the base model; weights of 0 correct nothing."""

    base_digest: str
    weight_PA: np.ndarray

    def moves(self, taste_BR: np.ndarray, generic_BA: np.ndarray, aspect: int) -> np.ndarray:
        """Corrections of the labels, in score points, shape (B,), float64. A row is bit-identical in any batch."""
        return rowwise_matmul(design(taste_BR, generic_BA[:, aspect]), self.weight_PA[:, aspect : aspect + 1])[:, 0]


@dataclass(frozen=True, eq=False)
class Reviewed:
    """Reviews of one aspect: the images, and per image the calibrated, the shown and the expert's label, 0-10."""

    taste_NR: np.ndarray
    generic_N: np.ndarray
    label_N: np.ndarray
    shown_N: np.ndarray
    expert_N: np.ndarray

    def __len__(self) -> int:
        return len(self.expert_N)

    def select(self, index_N: np.ndarray) -> Reviewed:
        return Reviewed(*(getattr(self, name)[index_N] for name in self.__dataclass_fields__))


def fit_weights(base: BaseScorer, aspect: int, reviewed: Reviewed) -> np.ndarray:
    """The posterior mode of the weights, shape (P,), float64, by Newton's method on a concave log posterior."""
    prior = OwnPrior(base)
    coordinate_NK = prior.coordinates(design(reviewed.taste_NR, reviewed.generic_N), aspect)
    preferences = _Preferences.of(reviewed, float(prior.noise_sd_A[aspect]))
    at_K = np.zeros(coordinate_NK.shape[1])
    value = preferences.log_likelihood(coordinate_NK @ at_K)
    for _ in range(_MAX_STEPS):
        slope_N, curvature_N = preferences.slope_and_curvature(coordinate_NK @ at_K)
        step_K = _newton_step(coordinate_NK, curvature_N, coordinate_NK.T @ slope_N - at_K)
        while True:  # concave, but a full step may overshoot the maximum
            next_K = at_K + step_K
            next_value = preferences.log_likelihood(coordinate_NK @ next_K) - 0.5 * float(next_K @ next_K)
            if next_value >= value or np.abs(step_K).max() < _TOLERANCE:
                break
            step_K = step_K / 2.0
        at_K, value = next_K, next_value
        if np.abs(step_K).max() < _TOLERANCE:
            break
    return prior.weights(at_K, aspect)


def left_out_moves(base: BaseScorer, aspect: int, reviewed: Reviewed, group_N: np.ndarray) -> np.ndarray:
    """Corrections of each label by a head that was fitted without its fold, in score points, shape (N,).

    Args:
        group_N: number of each review's image, so that reviews of one image are in one fold.
    """
    move_N = np.zeros(len(reviewed))
    for fold in range(NUM_FOLDS):
        out_N = group_N % NUM_FOLDS == fold
        if out_N.any() and not out_N.all():
            weight_P = fit_weights(base, aspect, reviewed.select(~out_N))
            move_N[out_N] = design(reviewed.taste_NR[out_N], reviewed.generic_N[out_N]) @ weight_P
    return move_N


def fit_reward_head(
    base: BaseScorer, reviewed_A: list[Reviewed | None], group_AN: list[np.ndarray | None]
) -> tuple[RewardHead | None, list[dict[str, Any] | None]]:
    """Fit a head for the aspects on which it lowers the error on left-out reviews; None: there is no such aspect.

    Args:
        base: the base model under the features.
        reviewed_A: the reviews of each of its aspects; None: no reviews.
        group_AN: see `left_out_moves`.

    Returns:
        The head, and per aspect `mae_label`, `mae_target` (on left-out reviews) and `used`.
    """
    weight_PA = np.zeros((base.taste_dim + 2, len(base.aspects)))
    reports: list[dict[str, Any] | None] = []
    for a, (reviewed, group_N) in enumerate(zip(reviewed_A, group_AN, strict=True)):
        if reviewed is None or group_N is None or len(reviewed) < MIN_REVIEWS:
            reports.append(None)
            continue
        target_N = reviewed.label_N + left_out_moves(base, a, reviewed, group_N)
        error_N = np.clip(target_N, SCORE_MIN, SCORE_MAX) - reviewed.expert_N
        helps = bool(np.square(error_N).mean() < np.square(reviewed.label_N - reviewed.expert_N).mean())
        if helps:
            weight_PA[:, a] = fit_weights(base, a, reviewed)
        reports.append(
            {
                "used": helps,
                "mae_label": float(np.abs(reviewed.label_N - reviewed.expert_N).mean()),
                "mae_target": float(np.abs(error_N).mean()),
            }
        )
    if not weight_PA.any():
        return None, reports
    return RewardHead(base.digest, weight_PA.astype(np.float32)), reports


def probability_corrected(distance: float, sd: float) -> float:
    """Probability that an expert's label is more than `WIDTH` from a label, as a normal around its target.

    Args:
        distance: of the target from the label, in score points.
        sd: of the expert's label around the target.
    """
    if sd <= 0.0:
        return float(abs(distance) > WIDTH)
    above, below = (WIDTH - distance) / sd, (-WIDTH - distance) / sd
    return 1.0 - 0.5 * (math.erf(above / math.sqrt(2.0)) - math.erf(below / math.sqrt(2.0)))


def label_error_sd(confidence: float, spread: float = 0.0, expert_sd: float = 0.0) -> float:
    """Standard deviation of an expert's label around a tool's label, in score points.

    Args:
        confidence: of the label: the probability that the two are within `WIDTH`.
        spread: standard deviation of several tools' labels.
        expert_sd: standard deviation of the experts' labels of the image.
    """
    confidence = min(max(confidence, _MIN_CONFIDENCE), _MAX_CONFIDENCE)
    own_sd = WIDTH / NormalDist().inv_cdf((1.0 + confidence) / 2.0)
    return math.sqrt(own_sd**2 + spread**2 + expert_sd**2)


@dataclass(frozen=True, eq=False)
class _Preferences:
    """The preferences as a logistic regression on the corrections of the labels (`move`)."""

    row_C: np.ndarray  # index of the review
    start_C: np.ndarray  # difference of the rewards without a correction
    per_point_C: np.ndarray  # change of the difference per score point of correction
    num_reviews: int

    @classmethod
    def of(cls, reviewed: Reviewed, noise_sd: float) -> _Preferences:
        rows, better, worse = [], [], []
        step = STEP * noise_sd
        for i, (expert, shown) in enumerate(zip(reviewed.expert_N.tolist(), reviewed.shown_N.tolist(), strict=True)):
            others = [other for other in (expert - step, expert + step) if SCORE_MIN <= other <= SCORE_MAX]
            if shown != expert:
                others.append(shown)
            rows += [i] * len(others)
            better += [expert] * len(others)
            worse += others
        row_C, better_C, worse_C = np.array(rows, np.int64), np.array(better), np.array(worse)
        per_point_C = (better_C - worse_C) / noise_sd**2
        start_C = per_point_C * (reviewed.label_N[row_C] - (better_C + worse_C) / 2.0)
        return cls(row_C, start_C, per_point_C, len(reviewed))

    def log_likelihood(self, move_N: np.ndarray) -> float:
        return float(-np.logaddexp(0.0, -(self.start_C + self.per_point_C * move_N[self.row_C])).sum())

    def slope_and_curvature(self, move_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First derivative of the log likelihood by each review's correction, and minus the second; shape (N,) each."""
        error_C = 0.5 * (1.0 - np.tanh((self.start_C + self.per_point_C * move_N[self.row_C]) / 2.0))
        slope_N = np.bincount(self.row_C, self.per_point_C * error_C, self.num_reviews)
        curvature_C = np.square(self.per_point_C) * error_C * (1.0 - error_C)
        return slope_N, np.bincount(self.row_C, curvature_C, self.num_reviews)


def _newton_step(coordinate_NK: np.ndarray, curvature_N: np.ndarray, gradient_K: np.ndarray) -> np.ndarray:
    """`(I + X.T @ diag(curvature) @ X)^-1 @ gradient`, from the smaller of two systems."""
    scaled_NK = np.sqrt(curvature_N)[:, None] * coordinate_NK
    num_rows, num_coordinates = scaled_NK.shape
    if num_rows < num_coordinates:
        inner_NN = np.eye(num_rows) + scaled_NK @ scaled_NK.T
        return gradient_K - scaled_NK.T @ solve(inner_NN, scaled_NK @ gradient_K)
    return solve(np.eye(num_coordinates) + scaled_NK.T @ scaled_NK, gradient_K)
