"""Several methods measured on the same people: means with paired bootstrap intervals, ready for JSON.

Shape letters: U = people, one entry per split that tests the person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.evaluation.intervals import group_by_person, mean_with_interval
from paaplus.evaluation.train_side import EvaluationData


@dataclass(frozen=True)
class PairedMeasurement:
    """SRCC of one test person on one split, under the generic score and under every method.

    Attributes:
        user_id: the person.
        seed: of the split.
        num_experts: experts of the split.
        generic: SRCC of the generic score; NaN where it is undefined (constant ratings), then no method is measured.
        srcc_by_method: per method an array of SRCC, one value per state of answering.
        kinds: kind of match that was selected in each state; empty in studies without a selection.
    """

    user_id: str
    seed: int
    num_experts: int
    generic: float
    srcc_by_method: dict[str, np.ndarray]
    kinds: tuple[str, ...] = ()


def stack_people(measured: Sequence[PairedMeasurement]) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """The people whose generic SRCC is defined, their generic SRCC, shape (U,), and each method's SRCC, (U, ...).

    Raises:
        InvalidInput: the generic SRCC is defined for nobody.
    """
    kept = [one for one in measured if np.isfinite(one.generic)]
    if not kept:
        raise InvalidInput(f"SRCC is undefined for all {len(measured)} test people")
    srcc_by_method = {
        method: np.stack([one.srcc_by_method[method] for one in kept]) for method in kept[0].srcc_by_method
    }
    return [one.user_id for one in kept], np.array([one.generic for one in kept]), srcc_by_method


def config_entries(data: EvaluationData, measured: Sequence[PairedMeasurement]) -> dict[str, Any]:
    """The entries of a document's `config` on the data and the people."""
    num_dropped = sum(not np.isfinite(one.generic) for one in measured)
    return {
        **data.config_entries(),
        "num_experts": list({one.seed: one.num_experts for one in measured}.values()),
        "num_people": len(measured) - num_dropped,
        "num_dropped": num_dropped,
    }


def finite_mean(people: Sequence[str], value_U: np.ndarray) -> dict[str, float]:
    """Mean of the finite values with its 95 % interval; people are drawn, each with all of their values."""
    pairs = zip(people, value_U.tolist(), strict=True)
    return mean_with_interval(group_by_person((user_id, value) for user_id, value in pairs if np.isfinite(value)))


def compare_method(
    people: Sequence[str], srcc_U: np.ndarray, generic_U: np.ndarray, reference_U: np.ndarray
) -> dict[str, Any]:
    """One method's SRCC, its `gain` over the generic score and how far it is `ahead` of a reference method."""
    gain_U = srcc_U - generic_U
    return {
        "srcc": float(np.nanmean(srcc_U)),
        "gain": finite_mean(people, gain_U),
        "ahead": finite_mean(people, srcc_U - reference_U),
        "share_improved": float(np.mean(gain_U[np.isfinite(gain_U)] > 0)),
    }
