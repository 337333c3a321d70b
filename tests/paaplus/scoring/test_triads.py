"""Circular triads equal brute force; anchors are the nearest on either side."""

from __future__ import annotations

from itertools import combinations, permutations
from uuid import UUID

import numpy as np
import pytest

from paaplus.scoring.anchors import Anchors, RatedImage, find_anchors
from paaplus.scoring.triads import Triads, count_triads


def brute_force(preferences: dict[tuple[int, int], float], num_items: int) -> Triads:
    """Every three items in every order."""

    def known(a: int, b: int) -> float | None:
        if (a, b) in preferences:
            return preferences[a, b]
        return 1.0 - preferences[b, a] if (b, a) in preferences else None

    num_triples = num_circular = 0
    for triple in combinations(range(num_items), 3):
        pairs = [known(a, b) for a, b in combinations(triple, 2)]
        if any(pair is None for pair in pairs):
            continue
        num_triples += 1
        num_circular += any(known(a, b) == known(b, c) == known(c, a) == 1.0 for a, b, c in permutations(triple))
    return Triads(num_triples, num_circular)


def test_triads_equal_brute_force_on_random_tournaments() -> None:
    total = circular = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        num_items = int(rng.integers(3, 12))
        preferences = {}
        for a, b in combinations(range(num_items), 2):
            if rng.uniform() < 0.8:  # not every pair was compared, nor always named in the same order
                pair = (a, b) if rng.uniform() < 0.5 else (b, a)
                preferences[pair] = float(rng.choice([0.0, 1.0, 0.5], p=[0.45, 0.45, 0.1]))
        found = count_triads(preferences)
        assert found == brute_force(preferences, num_items), seed
        total, circular = total + found.num_triples, circular + found.num_circular
    assert circular / total == pytest.approx(0.25 * 0.9**3, abs=0.02)  # a tie makes no circle


def test_order_makes_no_circle_and_few_comparisons_no_triple() -> None:
    ordered = dict.fromkeys(combinations(range(6), 2), 1.0)
    assert count_triads(ordered) == Triads(20, 0)
    assert count_triads(ordered).share == 0.0
    assert count_triads({(1, 2): 1.0, (2, 3): 1.0}).share is None
    assert count_triads({(1, 2): 1.0, (2, 3): 1.0, (3, 1): 1.0}).share == 1.0
    assert count_triads({(1, 2): 1.0, (2, 3): 1.0, (3, 1): 0.5}).share == 0.0


def test_anchors_are_the_nearest_ratings_and_of_equal_ones_the_latest() -> None:
    rated = [RatedImage(UUID(int=i), score, i) for i, score in enumerate([2.0, 6.0, 6.0, 8.0, 8.0, 9.0])]
    assert find_anchors(7.0, rated) == Anchors(rated[2], rated[4])
    assert find_anchors(6.0, rated) == Anchors(rated[2], rated[4])
    assert find_anchors(1.0, rated) == Anchors(None, rated[0])
    assert find_anchors(10.0, rated) == Anchors(rated[5], None)
    assert find_anchors(5.0, []) == Anchors(None, None)
