"""Shares of alarms and their benefit, from the measured streams of the drift study; ready for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paaplus.evaluation.person_streams import DRIFT, STEADY


@dataclass(frozen=True)
class DriftMeasurement:
    """One stream under the drift test.

    Attributes:
        alarm_at: number of the rating that raised the first alarm, from 1; None without an alarm.
        srcc: SRCC on test images at the end, without and with faster forgetting after the alarm.
        mae: MAE, likewise.
    """

    alarm_at: int | None
    srcc: tuple[float, float]
    mae: tuple[float, float]


def summary(measured: dict[str, list[DriftMeasurement]], drift_begins: int) -> dict[str, Any]:
    """False alarms on steady streams; share found and delay on drifting ones; the effect of faster forgetting.

    `drift_begins` is the number of ratings before the drift.
    """
    steady, drifting = measured[STEADY], measured[DRIFT]
    found = [one for one in drifting if one.alarm_at is not None and one.alarm_at > drift_begins]
    alarms = [one.alarm_at for one in found if one.alarm_at is not None]
    return {
        "num_streams": len(steady),
        "false_alarms": float(np.mean([one.alarm_at is not None for one in steady])),
        "false_alarms_before_drift": float(
            np.mean([one.alarm_at is not None and one.alarm_at <= drift_begins for one in drifting])
        ),
        "found": len(found) / len(drifting),
        "median_ratings_until_found": float(np.median(alarms)) - drift_begins if alarms else None,
        "after_false_alarm": _quality_at_end([one for one in steady if one.alarm_at is not None]),
        "after_found": _quality_at_end(found),
    }


def _quality_at_end(measured: Sequence[DriftMeasurement]) -> dict[str, Any]:
    """Mean SRCC and MAE at the end of the streams, without and with faster forgetting."""
    if not measured:
        return {"num": 0}
    return {
        "num": len(measured),
        **{
            f"{metric}_{variant}": float(np.nanmean([getattr(one, metric)[i] for one in measured]))
            for metric in ("srcc", "mae")
            for i, variant in enumerate(("as_before", "forgetting_faster"))
        },
    }
