"""A user's bytes do not depend on who else is trained: alone, among others, in any order, in stacks of any size."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paaplus.configs import TrainingConfig
from paaplus.strategies import stack, steps
from paaplus.training import TrainingRequest, train_many
from tests.support.learning import (
    STEP_PAIRS,
    base_of,
    base_of_dim,
    comparisons,
    first_request,
    next_request,
    none_of,
    person,
    ratings,
    taste_of,
    trained_of,
)

KINDS = ("taste_vector", "bottleneck")
PAIRS_OF_ASPECTS = [(*pair, 1 + 2 * (i % 2)) for i, pair in enumerate(STEP_PAIRS)]  # one aspect, or three
# Odd numbers wherever there is one: rank, aspects and taste dims that fill no cache line.
QUICK = TrainingConfig(num_steps=5, batch_size=24, replay_batch_size=24, buffer_size=40, rank=7)
WIDE = replace(QUICK, num_steps=2, rank=16)
NUM_PEOPLE = 7


@functools.cache
def requests_of(strategy: str, kind: str, num_aspects: int) -> tuple[TrainingRequest, ...]:
    """Ragged people in their first, second or third increment, with and without comparisons, some with a centre."""
    base = base_of(num_aspects)
    rng = np.random.default_rng([num_aspects, len(strategy)])
    people = []
    for u in range(NUM_PEOPLE):
        taste = person(base, u)
        center = taste_of(base, 0.4 * person(base, u + 100)) if u % 5 == 1 else None
        request: TrainingRequest | None = None
        for k in range(1 + u % 3):
            num_ratings, num_compared = int(rng.integers(0, 70)), int(rng.integers(0, 30)) * int(rng.integers(0, 2))
            new = ratings(base, taste, max(num_ratings, 1), first_sequence=1 + 200 * k, seed=u)
            new = new if num_ratings or not num_compared else none_of(new)
            if request is None:
                request = replace(first_request(strategy, kind, base, new, QUICK), center=center)
            else:
                [trained] = trained_of(train_many([request]))
                request = next_request(request, trained, new)
            if num_compared:
                compared = comparisons(base, taste, num_compared, first_sequence=120 + 200 * k, seed=u)
                request = replace(request, new_compared=compared)
        assert request is not None
        people.append(request)
    return tuple(people)


def bytes_of(requests: list[TrainingRequest]) -> list[tuple[str, bytes, dict[str, float]]]:
    return [(each.adapter.digest, each.state, each.metrics) for each in trained_of(train_many(requests))]


@functools.cache
def alone(strategy: str, kind: str, num_aspects: int) -> list[tuple[str, bytes, dict[str, float]]]:
    return [bytes_of([request])[0] for request in requests_of(strategy, kind, num_aspects)]


@pytest.mark.parametrize(("strategy", "kind", "num_aspects"), PAIRS_OF_ASPECTS)
@settings(max_examples=2, deadline=None)  # of each of 26 pairs, which share the code of stacks
@given(
    company=st.lists(st.integers(0, NUM_PEOPLE - 1), min_size=2, max_size=NUM_PEOPLE, unique=True),
    stack_size=st.sampled_from([1, 4, 64]),
    num_ahead=st.sampled_from([3, 64]),
)
@pytest.mark.slow
def test_company_does_not_matter(
    strategy: str, kind: str, num_aspects: int, company: list[int], stack_size: int, num_ahead: int
) -> None:
    requests, expected = requests_of(strategy, kind, num_aspects), alone(strategy, kind, num_aspects)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(steps._STACK_SIZE, "cpu", stack_size)
        patch.setattr(stack, "_STEPS_PER_BLOCK", num_ahead)
        found = bytes_of([requests[u] for u in company])
    assert found == [expected[u] for u in company]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("taste_dim", [48, 100, 256, 768])
@pytest.mark.slow
def test_size_of_the_stack_does_not_matter_at(taste_dim: int, kind: str) -> None:
    """In stacks of 2, 16 and 64, whatever the number of threads is set to outside."""
    base = base_of_dim(taste_dim, num_aspects=2)
    requests = [
        first_request("replay_ewc", kind, base, ratings(base, person(base, u), 1 + 3 * u % 40, seed=u), WIDE)
        for u in range(64)
    ]
    picked = [0, 1, 7, 15, 40, 63]
    expected = {u: bytes_of([requests[u]])[0] for u in picked}
    for count, num_threads in [(2, 1), (16, 2), (64, 1)]:
        threads = torch.get_num_threads()
        torch.set_num_threads(num_threads)
        try:
            found = bytes_of(requests[:count][::-1])[::-1]
        finally:
            torch.set_num_threads(threads)
        assert [found[u] for u in picked if u < count] == [expected[u] for u in picked if u < count]
