"""Runs of sequence numbers."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from paaplus.services.feedback.runs import parts_of, runs_of


def test_runs_are_what_follows_each_other() -> None:
    assert runs_of([]) == []
    assert runs_of({5, 3, 4, 9, 7, 8}) == [range(3, 6), range(7, 10)]


def test_parts_are_wholly_chosen_or_not_at_all() -> None:
    assert list(parts_of(range(1, 7), {2, 3, 6, 9})) == [
        (False, range(1, 2)),
        (True, range(2, 4)),
        (False, range(4, 6)),
        (True, range(6, 7)),
    ]
    assert list(parts_of(range(1, 3), ())) == [(False, range(1, 3))]


@given(st.sets(st.integers(1, 60)))
def test_runs_hold_the_same_numbers_and_none_can_be_joined(sequences: set[int]) -> None:
    runs = runs_of(sequences)
    assert [n for run in runs for n in run] == sorted(sequences)
    assert all(one.stop < other.start for one, other in pairwise(runs))
