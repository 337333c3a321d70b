"""Means with 95 % intervals per learner of the stream measurements, ready for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paaplus.evaluation.intervals import group_by_person, mean_with_interval

MEASURES = (
    "srcc",
    "plcc",
    "mae",
    "acc",
    "gain",
    "ahead",
    "earlier_srcc",
    "earlier_mae",
    "forgetting",
    "bwt",
    "negative_flip_rate",
)
COSTS = ("seconds", "adapter_bytes", "state_bytes")


@dataclass(frozen=True)
class StreamMeasurement:
    """One person's stream: the generic score's SRCC, and per learner, in order, its measures, costs and `curve`."""

    user_id: str
    seed: int
    generic_srcc: float
    by_learner: list[dict[str, Any]]


def summary(results: Sequence[StreamMeasurement], learners: Sequence[str]) -> list[dict[str, Any]]:
    """One entry per learner: every measure with its interval, the costs, and `curve`, the SRCC after each increment.

    `gain` is the SRCC minus the generic score's, `ahead` the SRCC minus the first learner's; both per person.
    """
    entries = []
    for index, learner in enumerate(learners):
        entry: dict[str, Any] = {"learner": learner, "num_people": len(results)}
        for measure in MEASURES:
            values = group_by_person((result.user_id, _value(result, index, measure)) for result in results)
            entry[measure] = mean_with_interval(values)
        entry |= {cost: float(np.mean([result.by_learner[index][cost] for result in results])) for cost in COSTS}
        entry["curve"] = np.mean([result.by_learner[index]["curve"] for result in results], axis=0).tolist()
        entry["generic_srcc"] = float(np.mean([result.generic_srcc for result in results]))
        entries.append(entry)
    return entries


def _value(result: StreamMeasurement, index: int, measure: str) -> float:
    values = result.by_learner[index]
    if measure == "gain":
        return float(values["srcc"] - result.generic_srcc)
    if measure == "ahead":
        return float(values["srcc"] - result.by_learner[0]["srcc"])
    return float(values[measure])
