"""Shares of people per learner, increment and life, ready for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paaplus.evaluation.gate.lives import LIVES
from paaplus.evaluation.intervals import group_by_person, mean_with_interval

MEASURES = (
    "worse_at_end",
    "worse_ever",
    "worse_share",
    "ever_live",
    "live_at_end",
    "srcc_gain",
    "srcc_lost",
)


@dataclass(frozen=True)
class LifeMeasurement:
    """One person's life with one learner and increment.

    Attributes:
        worse_share: share of the increments after which the person was served worse scores.
        ever_live: a version was live after some increment.
        live_at_end: a version is live after the last one.
        srcc_gain: SRCC of what is served at the end, less that of the generic scores.
        srcc_lost: SRCC of a training on everything, less that of what is served at the end.
    """

    user_id: str
    learner: str
    increment: int
    life: str
    worse_at_end: bool
    worse_ever: bool
    worse_share: float
    ever_live: bool
    live_at_end: bool
    srcc_gain: float
    srcc_lost: float


def summary(
    measured: Sequence[LifeMeasurement], learners: Sequence[str], increments: Sequence[int]
) -> list[dict[str, Any]]:
    """One entry per learner, increment and life: the mean of every measure with its interval."""
    entries = []
    for learner in learners:
        for increment in increments:
            for life in LIVES:
                some = [one for one in measured if (one.learner, one.increment, one.life) == (learner, increment, life)]
                if some:
                    entries.append({"learner": learner, "increment": increment, "life": life, **_entry(some)})
    return entries


def _entry(measured: Sequence[LifeMeasurement]) -> dict[str, Any]:
    means = {
        name: mean_with_interval(group_by_person((one.user_id, float(getattr(one, name))) for one in measured))
        for name in MEASURES
    }
    return {"num_people": len(measured), **means}
