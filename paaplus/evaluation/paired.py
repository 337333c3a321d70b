"""Measures of the same people under several methods, as means with paired bootstrap intervals, ready for JSON.

Shape letters: U = people, each once per split that tests them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.evaluation.intervals import by_person, mean_with_interval
from paaplus.evaluation.train_side import EvaluationData


@dataclass(frozen=True)
class Measured:
    """One person of one split: SRCC of the generic score (NaN: constant ratings, and nothing else), and by method."""

    user_id: str
    seed: int
    num_experts: int
    generic: float
    srcc_by_method: dict[str, np.ndarray]
    kinds: tuple[str, ...] = ()  # what was selected, where anything was


def stacked(measured: Sequence[Measured]) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """People who can be judged, their generic SRCC, shape (U,), and by method what was measured of them, (U, ...).

    Raises:
        InvalidInput: nobody can be judged.
    """
    kept = [one for one in measured if np.isfinite(one.generic)]
    if not kept:
        raise InvalidInput(f"none of {len(measured)} test people can be judged by SRCC")
    srcc_by_method = {
        method: np.stack([one.srcc_by_method[method] for one in kept]) for method in kept[0].srcc_by_method
    }
    return [one.user_id for one in kept], np.array([one.generic for one in kept]), srcc_by_method


def about(data: EvaluationData, measured: Sequence[Measured]) -> dict[str, Any]:
    """What a document's `config` says of the data and the people."""
    num_dropped = sum(not np.isfinite(one.generic) for one in measured)
    return {
        **data.about(),
        "num_experts": list({one.seed: one.num_experts for one in measured}.values()),
        "num_people": len(measured) - num_dropped,
        "num_dropped": num_dropped,
    }


def interval(people: Sequence[str], value_U: np.ndarray) -> dict[str, float]:
    """Mean of what is defined, with a 95 % interval; people are drawn, each with all their values."""
    given = zip(people, value_U.tolist(), strict=True)
    return mean_with_interval(by_person((user_id, value) for user_id, value in given if np.isfinite(value)))


def entry(people: Sequence[str], srcc_U: np.ndarray, generic_U: np.ndarray, beside_U: np.ndarray) -> dict[str, Any]:
    """SRCC, gain over the generic score before anything was said, and over a method with the same answers."""
    gain_U = srcc_U - generic_U
    return {
        "srcc": float(np.nanmean(srcc_U)),
        "gain": interval(people, gain_U),
        "ahead": interval(people, srcc_U - beside_U),
        "share_improved": float(np.mean(gain_U[np.isfinite(gain_U)] > 0)),
    }
