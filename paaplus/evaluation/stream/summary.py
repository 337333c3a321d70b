"""From what was measured per person to means with 95 % intervals per learner, ready for JSON.

Shape letters: U = people, E = increments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paaplus.evaluation.intervals import by_person, mean_with_interval

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
class Measured:
    """One person's stream under every learner, in the order of the learners."""

    user_id: str
    seed: int
    generic_srcc: float
    played: list[dict[str, Any]]


def summary(results: Sequence[Measured], learners: Sequence[str]) -> list[dict[str, Any]]:
    """One entry a learner: every measure with its interval, costs, and SRCC on unseen images after each increment.

    `gain` is SRCC over the generic score's, `ahead` SRCC over the first learner's, both person by person.
    """
    entries = []
    for index, learner in enumerate(learners):
        entry: dict[str, Any] = {"learner": learner, "num_people": len(results)}
        for measure in MEASURES:
            values = by_person((result.user_id, _value(result, index, measure)) for result in results)
            entry[measure] = mean_with_interval(values)
        entry |= {cost: float(np.mean([result.played[index][cost] for result in results])) for cost in COSTS}
        entry["curve"] = np.mean([result.played[index]["curve"] for result in results], axis=0).tolist()
        entry["generic_srcc"] = float(np.mean([result.generic_srcc for result in results]))
        entries.append(entry)
    return entries


def _value(result: Measured, index: int, measure: str) -> float:
    played = result.played[index]
    if measure == "gain":
        return float(played["srcc"] - result.generic_srcc)
    if measure == "ahead":
        return float(played["srcc"] - result.played[0]["srcc"])
    return float(played[measure])
