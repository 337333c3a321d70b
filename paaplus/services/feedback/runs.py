"""Runs of a log: events that follow each other, by sequence number."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from itertools import groupby


def runs_of(sequences: Iterable[int]) -> list[range]:
    """Different numbers as the fewest runs, in order."""
    ordered = sorted(sequences)
    places = groupby(zip(ordered, range(len(ordered)), strict=True), key=lambda each: each[0] - each[1])
    return [_run([sequence for sequence, _ in run]) for _, run in places]


def parts_of(run: range, chosen: Container[int]) -> Iterator[tuple[bool, range]]:
    """The run in parts, in order: whether the numbers of a part are chosen, and the part."""
    return ((is_chosen, _run(list(part))) for is_chosen, part in groupby(run, key=chosen.__contains__))


def _run(sequences: list[int]) -> range:
    return range(sequences[0], sequences[-1] + 1)
