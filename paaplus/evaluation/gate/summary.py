"""Shares of promoted and refused candidates per learner, kind of version and k, ready for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paaplus.evaluation.gate.spoiled_ratings import HONEST, SPOIL
from paaplus.evaluation.intervals import group_by_person, mean_with_interval

FIRST, UPDATE = "first", "update"  # kinds of version
GATE, HELD_OUT_ONLY, PLAIN = "gate", "held_out_only", "plain"  # rules that decide on a candidate


@dataclass(frozen=True)
class CandidateMeasurement:
    """One candidate: its quality on the truth, and the decision of every rule.

    Attributes:
        user_id: the person.
        learner: name of the learner.
        version: `first` or `update`.
        k: number of ratings, the held-out ones included.
        origin: `honest`, or how the ratings were spoiled.
        is_worse: worse than the scores it would replace, as `gate.run` defines it.
        mse_gain: by how much the squared error on the truth is lower than before, in score points squared.
        srcc_gain: by how much the SRCC on the truth is higher than before.
        promoted: per rule, True if it promotes the candidate.
        seconds: time that the gate took.
    """

    user_id: str
    learner: str
    version: str
    k: int
    origin: str
    is_worse: bool
    mse_gain: float
    srcc_gain: float
    promoted: dict[str, bool]
    seconds: float


def summary(
    measured: Sequence[CandidateMeasurement], learners: Sequence[str], ks: Sequence[int]
) -> list[dict[str, Any]]:
    """One entry per learner, kind of version and k for which there are candidates."""
    entries = []
    for learner in learners:
        for version in (FIRST, UPDATE):
            for k in ks:
                some = [one for one in measured if (one.learner, one.version, one.k) == (learner, version, k)]
                if some:
                    entries.append({"learner": learner, "when": version, "k": k, **_entry(some)})
    return entries


def _entry(measured: Sequence[CandidateMeasurement]) -> dict[str, Any]:
    honest = [one for one in measured if one.origin == HONEST]
    spoiled = [one for one in measured if one.origin != HONEST]
    return {
        "num_people": len(honest),
        "good": {"num": _count(honest, False), "refused": _shares(honest, worse=False, promoted=False)},
        "bad": {"num": _count(spoiled, True), "live": _shares(spoiled, worse=True, promoted=True)},
        "honest_but_worse": {"num": _count(honest, True), "live": _shares(honest, worse=True, promoted=True)},
        "spoiled_but_not_worse": {"num": _count(spoiled, False), "live": _shares(spoiled, worse=False, promoted=True)},
        "origins": {origin: _origin([one for one in measured if one.origin == origin]) for origin in (HONEST, *SPOIL)},
        "median_judge_ms": float(np.median([one.seconds for one in measured]) * 1000),
    }


def _origin(measured: Sequence[CandidateMeasurement]) -> dict[str, Any]:
    return {
        "mse_gain": float(np.mean([one.mse_gain for one in measured])),
        "srcc_gain": float(np.mean([one.srcc_gain for one in measured])),
        "share_worse": float(np.mean([one.is_worse for one in measured])),
        "live": {rule: float(np.mean([one.promoted[rule] for one in measured])) for rule in measured[0].promoted},
        "worse_live": _shares(measured, worse=True, promoted=True),
    }


def _count(measured: Sequence[CandidateMeasurement], worse: bool) -> int:
    return sum(one.is_worse is worse for one in measured)


def _shares(
    measured: Sequence[CandidateMeasurement], *, worse: bool, promoted: bool
) -> dict[str, dict[str, float] | None]:
    """Per rule, the share of candidates that it promotes (or refuses) among the worse (or not worse) ones.

    None where there are no such candidates.
    """
    shares: dict[str, dict[str, float] | None] = {}
    for rule in measured[0].promoted:
        values = group_by_person(
            (one.user_id, float(one.promoted[rule] is promoted)) for one in measured if one.is_worse is worse
        )
        shares[rule] = None
        if values:
            share = mean_with_interval(values)
            shares[rule] = {"share": share["mean"], "low": share["low"], "high": share["high"]}
    return shares
