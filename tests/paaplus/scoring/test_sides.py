"""Sides: who always chooses one side is told from who chooses images."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from paaplus.records import PREFERS_FIRST, PREFERS_SECOND, TIE
from paaplus.scoring.sides import Sides, count_sides

PREFERENCES = st.sampled_from([PREFERS_FIRST, PREFERS_SECOND, TIE])
ANSWERS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), PREFERENCES).filter(lambda each: each[0] != each[1]), max_size=30
)


def both_orders(rng: np.random.Generator) -> list[tuple[int, int]]:
    pairs = [tuple(rng.choice(20, 2, replace=False)) for _ in range(15)]
    return [*pairs, *(pair[::-1] for pair in pairs)]


def test_who_chooses_images_never_chooses_the_same_side_of_a_swapped_pair() -> None:
    found = count_sides(
        (a, b, PREFERS_FIRST if a > b else PREFERS_SECOND) for a, b in both_orders(np.random.default_rng(0))
    )
    assert found.num_first == found.num_second == 15
    assert found.num_swapped > 10
    assert found.num_same_side == 0


def test_who_always_chooses_first_always_chooses_the_same_side() -> None:
    found = count_sides((a, b, PREFERS_FIRST) for a, b in both_orders(np.random.default_rng(0)))
    assert (found.num_first, found.num_second) == (30, 0)
    assert found.num_swapped == found.num_same_side > 10


def test_ties_and_pairs_in_one_order_say_nothing_of_swapped_pairs() -> None:
    answers = [(1, 2, PREFERS_FIRST), (1, 2, PREFERS_SECOND), (3, 4, TIE), (4, 3, PREFERS_FIRST)]
    assert count_sides(answers) == Sides(num_first=2, num_second=1, num_swapped=0, num_same_side=0)


def test_the_last_answer_in_each_order_counts() -> None:
    answers = [(1, 2, PREFERS_FIRST), (2, 1, PREFERS_FIRST), (1, 2, PREFERS_SECOND)]
    assert count_sides(answers) == Sides(num_first=2, num_second=1, num_swapped=1, num_same_side=0)


@given(ANSWERS)
def test_swapping_all_sides_swaps_the_counts(answers: list[tuple[int, int, float]]) -> None:
    found = count_sides(answers)
    swapped = count_sides((b, a, PREFERS_FIRST - preference) for a, b, preference in answers)
    assert (swapped.num_first, swapped.num_second) == (found.num_second, found.num_first)
    assert (swapped.num_swapped, swapped.num_same_side) == (found.num_swapped, found.num_same_side)
    assert 0 <= found.num_same_side <= found.num_swapped
