"""Gain of each survey at each k, from the measured people; ready for JSON.

Shape letters: C = conditions, K = values of k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.evaluation.intervals import bootstrap_interval, group_by_person


@dataclass(frozen=True)
class SurveyMeasurement:
    """SRCC of one test person without a survey (`plain_K`) and with the survey of each condition (`survey_CK`).

    NaN where it is undefined or the data has no such survey.
    """

    user_id: str
    seed: int
    plain_K: np.ndarray
    survey_CK: np.ndarray


def summary(
    measured: Sequence[SurveyMeasurement], conditions: Sequence[str], ks: Sequence[int]
) -> list[dict[str, Any]]:
    """One entry per k and condition for which there are measurements; the gain is within the same people.

    Raises:
        InvalidInput: SRCC is undefined for everybody.
    """
    entries = []
    for c, condition in enumerate(conditions):
        for j, k in enumerate(ks):
            kept = [one for one in measured if np.isfinite([one.plain_K[j], one.survey_CK[c, j]]).all()]
            if not kept:
                continue
            gains = group_by_person((one.user_id, float(one.survey_CK[c, j] - one.plain_K[j])) for one in kept)
            low, high = bootstrap_interval(gains)
            seeds = sorted({one.seed for one in kept})
            entries.append(
                {
                    "survey": condition,
                    "k": k,
                    "without": _over_seeds(kept, seeds, lambda one, j=j: one.plain_K[j]),
                    "with": _over_seeds(kept, seeds, lambda one, c=c, j=j: one.survey_CK[c, j]),
                    "gain": _over_seeds(kept, seeds, lambda one, c=c, j=j: one.survey_CK[c, j] - one.plain_K[j]),
                    "gain_low": low,
                    "gain_high": high,
                    "share_improved": float(np.mean([gain > 0 for each in gains for gain in each])),
                    "num_people": len(kept),
                }
            )
    if not entries:
        raise InvalidInput(f"SRCC is undefined for all {len(measured)} test people")
    return entries


def _over_seeds(kept: Sequence[SurveyMeasurement], seeds: Sequence[int], value: Any) -> float:
    """Mean over people of each seed, then over seeds."""
    return float(np.mean([np.mean([value(one) for one in kept if one.seed == seed]) for seed in seeds]))
