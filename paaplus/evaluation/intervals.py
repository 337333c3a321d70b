"""Means over people with 95 % bootstrap intervals.

Shape letters: U = people, S = bootstrap samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

NUM_BOOTSTRAPS = 2000


def group_by_person(values: Iterable[tuple[str, float]]) -> list[list[float]]:
    """Each person's values, from (user_id, value) pairs; people in the order of their first pair."""
    values_of: dict[str, list[float]] = {}
    for user_id, value in values:
        values_of.setdefault(user_id, []).append(value)
    return list(values_of.values())


def mean_with_interval(values_by_person: Sequence[Sequence[float]]) -> dict[str, float]:
    """The `mean` of all values, and the ends `low` and `high` of its 95 % interval."""
    low, high = bootstrap_interval(values_by_person)
    return {
        "mean": float(np.mean([value for values in values_by_person for value in values])),
        "low": low,
        "high": high,
    }


def bootstrap_interval(values_by_person: Sequence[Sequence[float]], seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean of all values.

    People are drawn with replacement, each with all of their values: one person's values depend on one another.
    """
    total_U = np.array([sum(values) for values in values_by_person])
    count_U = np.array([len(values) for values in values_by_person])
    drawn_SU = np.random.default_rng(seed).integers(0, len(total_U), (NUM_BOOTSTRAPS, len(total_U)))
    mean_S = total_U[drawn_SU].sum(1) / count_U[drawn_SU].sum(1)
    low, high = np.percentile(mean_S, [2.5, 97.5])
    return float(low), float(high)
