"""The rounds of a study: per seed, the split and the test people measured on it; and the progress over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paaplus.evaluation.splits import MakeSplit, Split

Progress = Callable[[int, int], None]  # called with the number of test people done and the total


def no_progress(done: int, total: int) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class Round:
    """One seed's split and the test people (user ids) that are measured on it."""

    seed: int
    split: Split
    people: tuple[str, ...]


def rounds(make_split: MakeSplit, seeds: Sequence[int], limit_people: int | None) -> list[Round]:
    """One round per seed, each with the first `limit_people` test people of its split, or with all for `None`."""
    splits = [make_split(seed) for seed in seeds]
    return [
        Round(seed, split, tuple(split.test_people)[:limit_people]) for seed, split in zip(seeds, splits, strict=True)
    ]


class PeopleCounter:
    """Count the test people of all rounds and report each step to a `Progress`."""

    def __init__(self, rounds: Sequence[Round], progress: Progress) -> None:
        self.total = sum(len(one.people) for one in rounds)
        self._done, self._progress = 0, progress
        progress(0, self.total)

    def add(self, num_people: int = 1) -> None:
        """Count people as done."""
        self._done += num_people
        self._progress(self._done, self.total)
