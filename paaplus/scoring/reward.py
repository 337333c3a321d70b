"""The reward head: how good is a label for an image, learned from what experts preferred to what. NumPy only.

The reward of the label `y` for an image is `-(y - target)^2 / (2 * noise_sd^2)`, where `target = label + design @
weight` is the label that the head would give: the tool's (calibrated) label, moved along the taste space. Bradley-
Terry: one label is preferred to another with the probability `sigmoid(reward - other reward)`. Because both rewards
share the square of the target, that is logistic regression: a preference says on which side of the middle between
two labels the target lies. From each review come these preferences:

    corrected   what the expert said is preferred to what was shown
    both        what was said (by accepting it too) is preferred to a label `STEP` noise sds above it, and below it;
                a label outside of the scale nobody could have given, so nothing is preferred to it

The second kind makes an accepted label say something, and bounds how far a correction goes. With `STEP = 2` the pair
weighs about what one rating does in the closed form. Weights are normal around 0 with the base model's own prior.

The targets are the next round's labels; how far they are from a label that waits for review tells how likely it will
be corrected (`probability_corrected`).

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
WIDTH = 1.0  # score points: a label that is further away is taken to be corrected; confidences are about it too
_LEAST_CONFIDENCE, _MOST_CONFIDENCE = 0.05, 0.999
NUM_FOLDS = 5
MIN_REVIEWS = 2 * NUM_FOLDS
_MAX_STEPS = 50
_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class RewardHead:
    """Weights by aspect of the base model; an aspect whose weights are all 0 has none."""

    base_digest: str
    weight_PA: np.ndarray

    def moves(self, taste_BR: np.ndarray, generic_BA: np.ndarray, aspect: int) -> np.ndarray:
        """What the targets add to the labels, shape (B,), float64. Row b depends on row b only, bit for bit."""
        return rowwise_matmul(design(taste_BR, generic_BA[:, aspect]), self.weight_PA[:, aspect : aspect + 1])[:, 0]


@dataclass(frozen=True, eq=False)
class Reviewed:
    """Reviews of one aspect: images as scoring sees them, the calibrated label, what was shown, what was said."""

    taste_NR: np.ndarray
    generic_N: np.ndarray
    label_N: np.ndarray
    shown_N: np.ndarray
    said_N: np.ndarray

    def __len__(self) -> int:
        return len(self.said_N)

    def select(self, index_N: np.ndarray) -> Reviewed:
        return Reviewed(*(getattr(self, name)[index_N] for name in self.__dataclass_fields__))


def fit_weights(base: BaseScorer, aspect: int, reviewed: Reviewed) -> np.ndarray:
    """The most probable weights given the preferences, shape (P,), float64: Newton on a concave log posterior."""
    prior = OwnPrior(base)
    coordinate_NK = prior.coordinates(design(reviewed.taste_NR, reviewed.generic_N), aspect)
    preferences = _Preferences.of(reviewed, float(prior.noise_sd_A[aspect]))
    at_K = np.zeros(coordinate_NK.shape[1])
    value = preferences.log_likelihood(coordinate_NK @ at_K)
    for _ in range(_MAX_STEPS):
        slope_N, curvature_N = preferences.slope_and_curvature(coordinate_NK @ at_K)
        step_K = _newton_step(coordinate_NK, curvature_N, coordinate_NK.T @ slope_N - at_K)
        while True:  # concave, but a full step may leap over the top
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
    """What heads fitted without a group of reviews add to its labels, shape (N,).

    Args:
        group_N: reviews of one image are of one group, so that no fold knows what another expert said of it.
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
    """The head of all aspects on which leaving reviews out says that it helps; None: it helps on none.

    Args:
        base: the base model under the features.
        reviewed_A: the reviews of each of its aspects; None: there are none.
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
        error_N = np.clip(target_N, SCORE_MIN, SCORE_MAX) - reviewed.said_N
        helps = bool(np.square(error_N).mean() < np.square(reviewed.label_N - reviewed.said_N).mean())
        if helps:
            weight_PA[:, a] = fit_weights(base, a, reviewed)
        reports.append(
            {
                "used": helps,
                "mae_label": float(np.abs(reviewed.label_N - reviewed.said_N).mean()),
                "mae_target": float(np.abs(error_N).mean()),
            }
        )
    if not weight_PA.any():
        return None, reports
    return RewardHead(base.digest, weight_PA.astype(np.float32)), reports


def probability_corrected(distance: float, sd: float) -> float:
    """That an expert is more than `WIDTH` away from a label, if they are normal around a target at this distance."""
    if sd <= 0.0:
        return float(abs(distance) > WIDTH)
    above, below = (WIDTH - distance) / sd, (-WIDTH - distance) / sd
    return 1.0 - 0.5 * (math.erf(above / math.sqrt(2.0)) - math.erf(below / math.sqrt(2.0)))


def label_error_sd(confidence: float, spread: float = 0.0, expert_sd: float = 0.0) -> float:
    """How far an expert is from a label, in score points.

    Args:
        confidence: of the label: the probability that they are within `WIDTH`.
        spread: sd of several tools' labels.
        expert_sd: how far experts were apart on the image.
    """
    confidence = min(max(confidence, _LEAST_CONFIDENCE), _MOST_CONFIDENCE)
    own_sd = WIDTH / NormalDist().inv_cdf((1.0 + confidence) / 2.0)
    return math.sqrt(own_sd**2 + spread**2 + expert_sd**2)


@dataclass(frozen=True, eq=False)
class _Preferences:
    """Every preference as a logistic regression on how far a head moves the label of its review (`move`)."""

    row_C: np.ndarray  # the review
    start_C: np.ndarray  # difference of the rewards when nothing is moved
    per_point_C: np.ndarray  # what moving the label by a point adds to it
    num_reviews: int

    @classmethod
    def of(cls, reviewed: Reviewed, noise_sd: float) -> _Preferences:
        rows, better, worse = [], [], []
        step = STEP * noise_sd
        for i, (said, shown) in enumerate(zip(reviewed.said_N.tolist(), reviewed.shown_N.tolist(), strict=True)):
            others = [other for other in (said - step, said + step) if SCORE_MIN <= other <= SCORE_MAX]
            if shown != said:
                others.append(shown)
            rows += [i] * len(others)
            better += [said] * len(others)
            worse += others
        row_C, better_C, worse_C = np.array(rows, np.int64), np.array(better), np.array(worse)
        per_point_C = (better_C - worse_C) / noise_sd**2
        start_C = per_point_C * (reviewed.label_N[row_C] - (better_C + worse_C) / 2.0)
        return cls(row_C, start_C, per_point_C, len(reviewed))

    def log_likelihood(self, move_N: np.ndarray) -> float:
        return float(-np.logaddexp(0.0, -(self.start_C + self.per_point_C * move_N[self.row_C])).sum())

    def slope_and_curvature(self, move_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First derivative of the log likelihood by every move, and minus the second."""
        doubt_C = 0.5 * (1.0 - np.tanh((self.start_C + self.per_point_C * move_N[self.row_C]) / 2.0))
        slope_N = np.bincount(self.row_C, self.per_point_C * doubt_C, self.num_reviews)
        curvature_C = np.square(self.per_point_C) * doubt_C * (1.0 - doubt_C)
        return slope_N, np.bincount(self.row_C, curvature_C, self.num_reviews)


def _newton_step(coordinate_NK: np.ndarray, curvature_N: np.ndarray, gradient_K: np.ndarray) -> np.ndarray:
    """`(I + X.T @ diag(curvature) @ X)^-1 @ gradient`, by the smaller of two systems."""
    scaled_NK = np.sqrt(curvature_N)[:, None] * coordinate_NK
    num_rows, num_coordinates = scaled_NK.shape
    if num_rows < num_coordinates:
        inner_NN = np.eye(num_rows) + scaled_NK @ scaled_NK.T
        return gradient_K - scaled_NK.T @ solve(inner_NN, scaled_NK @ gradient_K)
    return solve(np.eye(num_coordinates) + scaled_NK.T @ scaled_NK, gradient_K)
