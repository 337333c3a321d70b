"""Means and intervals of label errors per order, number of reviews and kind of label; ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paaplus.evaluation.intervals import group_by_person, mean_with_interval

_MEAN = "mean"


@dataclass(frozen=True)
class ReviewMeasurement:
    """The labels after `count` reviews in one order, measured on one expert's test images.

    Attributes:
        user_id: the expert.
        order: `random` or `value`.
        count: number of reviews.
        errors: kind of label -> metric -> value; NaN where it is undefined.
        share_corrected: share of the reviewed labels that the experts corrected; NaN without reviews.
        uses_reward: True if the reward head lowers the error on left-out reviews and is used.
        calibration: kind of the first aspect's calibration.
    """

    user_id: str
    order: str
    count: int
    errors: dict[str, dict[str, float]]
    share_corrected: float
    uses_reward: bool
    calibration: str


def summary(measured: Sequence[ReviewMeasurement], counts: Sequence[int]) -> list[dict[str, Any]]:
    """One entry per order and number of reviews for which there are measurements; `labels` by kind of label."""
    entries = []
    for order in dict.fromkeys(one.order for one in measured):
        for count in sorted(counts):
            some = [one for one in measured if (one.order, one.count) == (order, count)]
            if some:
                entries.append({"order": order, "count": count, **_entry(some)})
    return entries


def _entry(some: Sequence[ReviewMeasurement]) -> dict[str, Any]:
    corrected = [one.share_corrected for one in some if not math.isnan(one.share_corrected)]
    return {
        "num_people": len({one.user_id for one in some}),
        "share_corrected": float(np.mean(corrected)) if corrected else None,
        "share_with_reward_head": float(np.mean([one.uses_reward for one in some])),
        "share_of_calibrations": {
            kind: float(np.mean([one.calibration == kind for one in some]))
            for kind in sorted({one.calibration for one in some})
        },
        "labels": {kind: _label(some, kind) for kind in some[0].errors},
    }


def _label(some: Sequence[ReviewMeasurement], kind: str) -> dict[str, Any]:
    return {
        **{name: _mean(some, lambda one, name=name: one.errors[kind][name]) for name in some[0].errors[kind]},  # type: ignore[misc]
        "mae_under_mean": _mean(some, lambda one: one.errors[_MEAN]["mae"] - one.errors[kind]["mae"]),
        "mae_under_raw": _mean(some, lambda one: one.errors["raw"]["mae"] - one.errors[kind]["mae"]),
        "mae_under_calibrated": _mean(some, lambda one: one.errors["calibrated"]["mae"] - one.errors[kind]["mae"]),
    }


def _mean(some: Sequence[ReviewMeasurement], read: Callable[[ReviewMeasurement], float]) -> dict[str, float] | None:
    """Mean over people with its bootstrap interval; None where it is undefined for everybody."""
    values = group_by_person((one.user_id, value) for one in some if not math.isnan(value := read(one)))
    return mean_with_interval(values) if values else None
