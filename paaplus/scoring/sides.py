"""Sides: whether a person chooses an image or a place. No arrays needed.

A person who always chooses the first image, or the left one, chooses a place. Two signs tell it: how often each side
was chosen, and pairs that were asked twice, with their sides swapped. Whoever chooses an image changes the side then.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from paaplus.records import PREFERS_FIRST, TIE

Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Sides:
    """How often each side was chosen, and what was chosen when a pair was asked again with its sides swapped.

    Attributes:
        num_first: comparisons in which the first image was preferred; ties do not count.
        num_second: likewise the second.
        num_swapped: pairs that were answered in both orders, each time with a preference.
        num_same_side: of those, the pairs in which the same side was chosen both times: two answers that contradict
            each other.
    """

    num_first: int
    num_second: int
    num_swapped: int
    num_same_side: int


def count_sides(answers: Iterable[tuple[Item, Item, float]]) -> Sides:
    """Count over comparisons in order: first item, second item, and 1 for the first, 0 for the second, 0.5 for a tie.

    If a pair was answered several times in one order, the last answer in that order counts for swapped pairs.
    """
    num_first = num_second = 0
    latest: dict[tuple[Item, Item], float] = {}
    for first, second, preference in answers:
        num_first += preference == PREFERS_FIRST
        num_second += preference == PREFERS_FIRST - 1.0
        latest[first, second] = preference
    swapped = [
        (preference, latest[pair[::-1]])
        for pair, preference in latest.items()
        if pair[::-1] in latest and TIE not in (preference, latest[pair[::-1]])
    ]
    num_same_side = sum(preference == other for preference, other in swapped)
    return Sides(num_first, num_second, len(swapped) // 2, num_same_side // 2)  # each pair is met in both orders
