"""Rows per seed and k, and a summary per k, of the k-shot measurements; ready for JSON.

Shape letters: U = test people of one split, L = learners, K = values of k, Q = intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from paaplus.evaluation.intervals import bootstrap_interval, group_by_person

INTERVALS = (0.5, 0.8, 0.95)  # prediction intervals of a rating whose coverage is measured


@dataclass(frozen=True)
class KShotMeasurement:
    """One test person under every learner and k.

    Attributes:
        generic: SRCC of the generic score; NaN where it is undefined.
        num_rated: train images that the person rated, at most the largest k.
        srcc_LK: SRCC of the personal score; NaN where it is undefined.
        seconds_LK: wall time of the training.
        adapter_bytes_LK: size of the adapter.
        state_bytes_LK: size of the learner state.
        coverage_LKQ: share of the test ratings within each of `INTERVALS`; NaN for a learner without uncertainty.
    """

    generic: float
    num_rated: int
    srcc_LK: np.ndarray
    seconds_LK: np.ndarray
    adapter_bytes_LK: np.ndarray
    state_bytes_LK: np.ndarray
    coverage_LKQ: np.ndarray

    @classmethod
    def empty(cls, generic: float, num_rated: int, num_learners: int, ks: Sequence[int]) -> KShotMeasurement:
        """The values before any training: the generic score's SRCC, and no cost."""
        shape = num_learners, len(ks)
        unknown = np.full((*shape, len(INTERVALS)), np.nan)
        return cls(
            generic, num_rated, np.full(shape, generic), np.zeros(shape), np.zeros(shape), np.zeros(shape), unknown
        )


@dataclass(frozen=True)
class SplitResult:
    """The measurements of one split's test people as arrays; the attributes are those of `KShotMeasurement`."""

    seed: int
    people: tuple[str, ...]
    generic_U: np.ndarray
    num_rated_U: np.ndarray
    srcc_ULK: np.ndarray
    seconds_ULK: np.ndarray
    adapter_bytes_ULK: np.ndarray
    state_bytes_ULK: np.ndarray
    coverage_ULKQ: np.ndarray

    @classmethod
    def of(cls, seed: int, people: tuple[str, ...], measured: Sequence[KShotMeasurement]) -> SplitResult:
        """Stack the measurements of a split's test people, in the order of `people`."""
        columns = [np.array([getattr(one, f.name) for one in measured]) for f in fields(KShotMeasurement)]
        return cls(seed, people, *columns)

    @property
    def kept_U(self) -> np.ndarray:
        """True for the people whose every SRCC is defined, so that all learners are compared on the same people."""
        return np.isfinite(self.generic_U) & np.isfinite(self.srcc_ULK).all((1, 2))


def rows(result: SplitResult, learners: Sequence[str], ks: Sequence[int]) -> list[dict[str, Any]]:
    """One row per k: mean SRCC over people, of the first learner as `personal` and of the others under their names."""
    kept_U = result.kept_U
    generic = float(result.generic_U[kept_U].mean())
    mean_LK = result.srcc_ULK[kept_U].mean(0)
    return [
        {
            "k": k,
            "seed": result.seed,
            "generic": generic,
            "personal": float(mean_LK[0, j]),
            "gain": float(mean_LK[0, j]) - generic,
            "num_people": int(kept_U.sum()),
            "num_dropped": int((~kept_U).sum()),
            "num_fewer": int((result.num_rated_U[kept_U] < k).sum()),  # people who rated fewer than k train images
            **{learner: float(mean_LK[i, j]) for i, learner in enumerate(learners) if i > 0},
        }
        for j, k in enumerate(ks)
    ]


def summary(results: Sequence[SplitResult], learners: Sequence[str], ks: Sequence[int]) -> list[dict[str, Any]]:
    """One entry per k: generic score and first learner, and the other learners under their names."""
    generic = float(np.mean([result.generic_U[result.kept_U].mean() for result in results]))
    entries = []
    for j, k in enumerate(ks):
        first, *others = (_compare(results, i, j) for i in range(len(learners)))
        entries.append({"k": k, "generic": generic, **first, **dict(zip(learners[1:], others, strict=True))})
    return entries


def _compare(results: Sequence[SplitResult], learner: int, at_k: int) -> dict[str, Any]:
    """One learner at one k: means over seeds; interval and share of improved people over the people of all seeds."""
    means = []
    gains: list[tuple[str, float]] = []
    for result in results:
        gain_U = result.srcc_ULK[:, learner, at_k] - result.generic_U
        means.append((result.srcc_ULK[result.kept_U, learner, at_k].mean(), gain_U[result.kept_U].mean()))
        gains += [(result.people[u], float(gain_U[u])) for u in np.flatnonzero(result.kept_U)]
    low, high = bootstrap_interval(group_by_person(gains))
    personal, gain = np.mean(means, axis=0).tolist()
    seconds, adapter_bytes, state_bytes = (
        float(np.mean(np.concatenate([getattr(result, name)[:, learner, at_k] for result in results])))
        for name in ("seconds_ULK", "adapter_bytes_ULK", "state_bytes_ULK")
    )
    return {
        "personal": personal,
        "gain": gain,
        "gain_low": low,
        "gain_high": high,
        "share_improved": float(np.mean([gain > 0 for _, gain in gains])),
        "seconds_per_user": seconds,
        "bytes_per_user": adapter_bytes,
        "state_bytes_per_user": state_bytes,
        "coverage": _coverage([result.coverage_ULKQ[result.kept_U, learner, at_k] for result in results]),
    }


def _coverage(by_split_UQ: Sequence[np.ndarray]) -> dict[str, float] | None:
    """Share of ratings within each interval, mean over people; None for a learner without uncertainty."""
    covered_Q = np.concatenate(by_split_UQ).mean(0)
    if np.isnan(covered_Q).any():
        return None
    return {f"{share:.0%}": round(float(covered), 4) for share, covered in zip(INTERVALS, covered_Q, strict=True)}
