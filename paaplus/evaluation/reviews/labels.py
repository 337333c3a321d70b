"""The labels of a tool after reviews: raw, mean, calibrated, with a reward head, and by the expert's own model.

Shape letters: N = reviews, I = images, B = labelled images, A = aspects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paaplus.evaluation.closed_form import learned
from paaplus.evaluation.train_side import TrainSide
from paaplus.records import SCORE_MAX, SCORE_MIN
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.calibration import IDENTITY, Calibration, fit_calibration
from paaplus.scoring.priors import design
from paaplus.scoring.reward import Reviewed, RewardHead, fit_reward_head

RAW, MEAN, CALIBRATED, REWARD, OWN = LABELS = ("raw", "mean", "calibrated", "calibrated+reward", "own")


@dataclass(frozen=True)
class LabelModel:
    """Everything that the reviews so far have taught.

    Attributes:
        calibrations: one per aspect.
        head: the reward head; None where it does not help.
        own: per expert, the model trained on the expert's own reviews; None before the first review.
        mean_A: mean of the reviews; before the first review, of all train people's ratings.
    """

    calibrations: list[Calibration]
    head: RewardHead | None
    own: list[Adapter | None]
    mean_A: np.ndarray

    @classmethod
    def untrained(cls, num_experts: int, num_aspects: int) -> LabelModel:
        """The model before it has been fitted."""
        return cls([IDENTITY] * num_aspects, None, [None] * num_experts, np.full(num_aspects, np.nan))


def fit_label_model(
    side: TrainSide, expert_N: np.ndarray, image_N: np.ndarray, reviewed_NA: np.ndarray, num_experts: int
) -> LabelModel:
    """Fit calibrations, reward head and the experts' own models on reviews.

    Args:
        side: the base model whose generic scores are the raw labels.
        expert_N: index of the expert who made each review.
        image_N: position of the reviewed image.
        reviewed_NA: revised labels (0-10); NaN where an aspect is not known.
        num_experts: experts who teach the tool.
    """
    calibrations: list[Calibration] = []
    reviewed_A: list[Reviewed | None] = []
    groups: list[np.ndarray | None] = []
    for a in range(reviewed_NA.shape[1]):
        known_N = ~np.isnan(reviewed_NA[:, a])
        images, target_N = image_N[known_N], reviewed_NA[known_N, a]
        raw_N = side.generic_IA[images, a].astype(np.float64)
        calibrations.append(fit_calibration(raw_N, target_N)[0] if len(images) else IDENTITY)
        label_N = calibrations[-1].apply(raw_N)
        reviewed_A.append(Reviewed(side.taste_IR[images], raw_N, label_N, raw_N, target_N) if len(images) else None)
        groups.append(np.unique(images, return_inverse=True)[1] if len(images) else None)
    head, _ = fit_reward_head(side.base, reviewed_A, groups)
    own = [_own_model(side, image_N[expert_N == m], reviewed_NA[expert_N == m]) for m in range(num_experts)]
    with np.errstate(invalid="ignore"):
        mean_A = np.nanmean(reviewed_NA if len(image_N) else side.folder.score_NA, axis=0)
    return LabelModel(calibrations, head, own, mean_A)


def labels(side: TrainSide, image_B: np.ndarray, model: LabelModel, expert: int = 0) -> dict[str, np.ndarray]:
    """Every kind of label of these images, shape (B, A); `own` is that of one expert."""
    own = model.own[expert]
    taste_BR, generic_BA = side.taste_IR[image_B], side.generic_IA[image_B]
    calibrated_BA = np.stack([one.apply(generic_BA[:, a]) for a, one in enumerate(model.calibrations)], axis=1)
    corrected_BA = calibrated_BA.copy()
    if model.head is not None:
        for a in range(corrected_BA.shape[1]):
            corrected_BA[:, a] += design(taste_BR, generic_BA[:, a]) @ model.head.weight_PA[:, a]
    return {
        RAW: generic_BA.astype(np.float64),
        MEAN: np.broadcast_to(model.mean_A, generic_BA.shape),
        CALIBRATED: calibrated_BA,
        REWARD: np.clip(corrected_BA, SCORE_MIN, SCORE_MAX),
        OWN: (generic_BA if own is None else own.score(taste_BR, generic_BA)).astype(np.float64),
    }


def _own_model(side: TrainSide, image_N: np.ndarray, reviewed_NA: np.ndarray) -> Adapter | None:
    """The closed form on one expert's own reviews; None without reviews."""
    if not len(image_N):
        return None
    rated = side.rated_as(image_N, reviewed_NA)
    return learned(side.base, rated)
