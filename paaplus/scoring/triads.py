"""Circular triads: how often a person's comparisons contradict each other. No arrays needed.

Three images of which every pair was compared are a triple. It is circular if the first was preferred to the second, the
second to the third, and the third to the first. A tie makes no circle. By chance a quarter of triples is circular.

Source:
    Kendall & Babington Smith, On the method of paired comparisons (Biometrika 1940).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from paaplus.records import PREFERS_FIRST, TIE

CHANCE = 0.25  # share of circular triples when every comparison is a coin

Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Triads:
    """How many complete triples there are, and how many of them are circular."""

    num_triples: int
    num_circular: int

    @property
    def share(self) -> float | None:
        """Of triples that are circular; None: there is no triple."""
        return self.num_circular / self.num_triples if self.num_triples else None


def count_triads(preferences: Mapping[tuple[Item, Item], float]) -> Triads:
    """Count over pairs of items, each pair once: 1 the first is preferred, 0 the second, 0.5 a tie."""
    beats: dict[Item, dict[Item, float]] = {}
    for (first, second), preference in preferences.items():
        assert first != second, "two different items"
        assert second not in beats.get(first, {}), "each pair once"
        beats.setdefault(first, {})[second] = preference
        beats.setdefault(second, {})[first] = PREFERS_FIRST - preference
    place = {item: number for number, item in enumerate(beats)}
    num_triples = num_circular = 0
    for a, of_a in beats.items():
        for b in of_a:
            if place[b] < place[a]:
                continue
            for c in of_a.keys() & beats[b].keys():
                if place[c] < place[b]:
                    continue
                num_triples += 1
                turn = (of_a[b], beats[b][c], beats[c][a])
                num_circular += TIE not in turn and len(set(turn)) == 1
    return Triads(num_triples, num_circular)
