"""The loop of every evaluation: the split of each seed, and its test people, counted for a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paaplus.evaluation.splits import MakeSplit, Split

Progress = Callable[[int, int], None]  # told how many test people are done, of how many


def no_progress(done: int, total: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Round:
    """One seed's split, and those of its test people who are measured."""

    seed: int
    split: Split
    people: tuple[str, ...]


def rounds(make_split: MakeSplit, seeds: Sequence[int], limit_people: int | None) -> list[Round]:
    """One round a seed, each with the first test people of its split; None: with all of them."""
    splits = [make_split(seed) for seed in seeds]
    return [
        Round(seed, split, tuple(split.test_people)[:limit_people]) for seed, split in zip(seeds, splits, strict=True)
    ]


class PeopleCounter:
    """How many people of all rounds are done, told to a `Progress`."""

    def __init__(self, rounds: Sequence[Round], progress: Progress) -> None:
        self.total = sum(len(each.people) for each in rounds)
        self._done, self._progress = 0, progress
        progress(0, self.total)

    def add(self, num_people: int = 1) -> None:
        self._done += num_people
        self._progress(self._done, self.total)
