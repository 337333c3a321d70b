"""Promise 10: the closed form gives the same bytes for the same events, in whatever order they arrived."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paaplus.records import ComparedSet, RatedSet
from paaplus.strategies.recency import aged
from paaplus.training import train
from tests.support.learning import base_of, comparisons, first_request, likes, person, ratings

BASE = base_of(2)
TASTE = person(BASE, 5)
RATED = ratings(BASE, TASTE, 12)
COMPARED = ComparedSet.concatenate(
    comparisons(BASE, TASTE, 5, first_sequence=13), likes(BASE, TASTE, 5, first_sequence=18)
)


def arrived(rows: RatedSet | ComparedSet, number_of: np.ndarray, axis: str) -> RatedSet | ComparedSet:
    """The rows with other sequence numbers, in order of these."""
    sequence = number_of[getattr(rows, f"sequence_{axis}") - 1]
    order = np.argsort(sequence)
    columns = {name: getattr(rows, name)[order] for name in rows.__slots__}
    return type(rows)(**columns | {f"sequence_{axis}": sequence[order]})


def digest(number_of: np.ndarray, num_past: int, half_life: float, same_time: bool) -> str:
    rated, compared = arrived(RATED, number_of, "N"), arrived(COMPARED, number_of, "C")
    if same_time:
        rated = replace(rated, answered_at_N=np.ones_like(rated.answered_at_N))
    is_past_N, is_past_C = rated.sequence_N <= num_past, compared.sequence_C <= num_past
    request = first_request("bayes", "taste_vector", BASE, rated.select(~is_past_N))
    request = replace(
        request,
        past=rated.select(is_past_N),
        new_compared=compared.select(~is_past_C),
        past_compared=compared.select(is_past_C),
        config=replace(request.config, recency_half_life=half_life),
    )
    return train(request).adapter.digest


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(1, 23)), st.integers(0, 22), st.sampled_from([0.0, 7.0]))
@pytest.mark.slow
def test_same_events_in_any_order_of_arrival_give_the_same_digest(
    numbers: list[int], num_past: int, half_life: float
) -> None:
    in_order = np.arange(1, 23)
    assert digest(np.array(numbers), num_past, half_life, False) == digest(in_order, 0, half_life, False)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(1, 23)))
def test_events_said_at_one_time_are_put_in_order_by_their_content(numbers: list[int]) -> None:
    assert digest(np.array(numbers), 5, 0.0, True) == digest(np.arange(1, 23), 0, 0.0, True)


def test_recency_counts_what_was_said_later_not_what_came_later() -> None:
    one = ratings(BASE, TASTE, 2, missing=0.0)
    late = replace(one, answered_at_N=one.answered_at_N[::-1].copy())
    request = first_request("bayes", "taste_vector", BASE, one)
    request = replace(request, config=replace(request.config, recency_half_life=1.0))
    assert aged(request).new.weight_N.tolist() == [0.5, 1.0]
    assert aged(replace(request, new=late)).new.weight_N.tolist() == [1.0, 0.5]
