"""Means and intervals per state and method of the matching measurements, ready for JSON.

Shape letters: U = test people, S = states (what has been answered).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paaplus.evaluation.matching.config import MatchingConfig, State
from paaplus.evaluation.paired import PairedMeasurement, compare_method, finite_mean, stack_people
from paaplus.scoring.matching import COMBINATION, EXPERT, GENERIC


def summary(measured: Sequence[PairedMeasurement], config: MatchingConfig) -> dict[str, Any]:
    """`summary` (per state, every method), `quiz` (the gain of the pairs) and `selected` (people per kind of match).

    Raises:
        InvalidInput: the generic SRCC is defined for nobody.
    """
    people, generic_U, srcc_by_method = stack_people(measured)
    return {
        "summary": _by_state(people, generic_U, srcc_by_method, config),
        "quiz": _quiz(people, srcc_by_method, config),
        "selected": {
            state.name: {
                kind: sum(one.kinds[s] == kind for one in measured if one.kinds)
                for kind in (GENERIC, COMBINATION, EXPERT)
            }
            for s, state in enumerate(config.states)
        },
    }


def _by_state(
    people: Sequence[str], generic_U: np.ndarray, srcc_by_method: dict[str, np.ndarray], config: MatchingConfig
) -> list[dict[str, Any]]:
    """One entry per state with every method measured in it; `ahead` is the lead over `generic` in the same state."""
    entries = []
    for s, state in enumerate(config.states):
        methods: dict[str, Any] = {}
        for method, srcc_US in srcc_by_method.items():
            if not np.isnan(srcc_US[:, s]).all():
                methods[method] = compare_method(people, srcc_US[:, s], generic_U, srcc_by_method["generic"][:, s])
        entries.append({"state": state.name, "pairs": state.num_pairs, "ratings": state.num_ratings, **methods})
    return entries


def _quiz(people: Sequence[str], srcc_by_method: dict[str, np.ndarray], config: MatchingConfig) -> dict[str, Any]:
    """The gain of all pairs under the combination: over no pairs, and over pairs drawn at random."""
    index_of = {state: s for s, state in enumerate(config.states)}
    combination_US, most = srcc_by_method["combination"], max(config.pairs)
    gains = {}
    for k in (0, *config.ks):
        before, after = index_of.get(State(0, k)), index_of.get(State(most, k))
        if before is not None and after is not None and most:
            gains[f"{most} pairs before {k} ratings"] = finite_mean(
                people, combination_US[:, after] - combination_US[:, before]
            )
    if most:
        at_most = index_of[State(most, 0)]
        random_U = srcc_by_method["random_pairs"][:, at_most]
        gains["adaptive over random"] = finite_mean(people, combination_US[:, at_most] - random_U)
    return gains
