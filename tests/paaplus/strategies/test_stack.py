"""What a stack's steps show: rows by user, in columns that depend on the user alone, each standing for its share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from paaplus.configs import TrainingConfig
from paaplus.records import NO_COMPARISONS, ComparedSet, RatedSet
from paaplus.strategies.likelihood import LogLikelihood
from paaplus.strategies.modules import build_module
from paaplus.strategies.parameters import parameters_of, start_of
from paaplus.strategies.rows import Part, rows_of
from paaplus.strategies.stack import Columns, Member, Stack, StepLoader
from tests.support.learning import base_of, comparisons, first_request, none_of, person, ratings, taste_of

BASE = base_of(2)
CONFIG = TrainingConfig(batch_size=4)


def member_of(
    num_ratings: int, num_compared: int = 0, batch_size: int = 4, buffered: tuple[int, int] = (0, 0)
) -> Member:
    """A user with new feedback and a part more, of (rows, rows a step)."""
    new = ratings(BASE, person(BASE), max(num_ratings, 1), missing=0.0)
    request = first_request(
        "naive", "taste_vector", BASE, new if num_ratings else none_of(new), replace(CONFIG, batch_size=batch_size)
    )
    if num_compared:
        request = replace(request, new_compared=comparisons(BASE, person(BASE), num_compared, first_sequence=50))
    member = Member(0, request, "start")
    if buffered[0]:
        rows = rows_of(ratings(BASE, person(BASE), buffered[0], first_sequence=100, missing=0.0), NO_COMPARISONS)
        member.parts.append(Part(rows, buffered[1]))
    return member


def stack_of(*members: Member) -> Stack:
    module = build_module("taste_vector", BASE, [start_of("taste_vector", BASE, 0, None)], len(members))
    return Stack(members, module, "cpu")


def drawn(stack: Stack, u: int, num_steps: int) -> list[list[int]]:
    """Which row, by its place in the table, every step takes of a user."""
    table = {tuple(row.tolist()): i for i, row in enumerate(stack.x_TX)}
    batches = StepLoader(stack, num_steps)
    return [[i for row in x[u] if (i := table[tuple(row.tolist())]) != stack.nowhere] for x, _ in batches]


def test_rows_are_in_order_of_sequence_and_keep_their_columns() -> None:
    rated, compared = ratings(BASE, person(BASE), 5), comparisons(BASE, person(BASE), 3, first_sequence=10)
    late = rated.select(np.arange(5) > 2)
    late = replace(late, sequence_N=late.sequence_N + 20)
    rows = rows_of(RatedSet.concatenate(rated.select(np.arange(5) < 3), late), compared)
    assert rows.sequence_N.tolist() == [1, 2, 3, 10, 11, 12, 24, 25]
    assert rows.second_N.tolist() == [-1, -1, -1, 8, 9, 10, -1, -1]
    assert np.array_equal(rows.taste_VR[[3, 8]], [compared.first_taste_CR[0], compared.second_taste_CR[0]])
    few = rows.take(np.array([7, 4, 0]))
    assert few.second_N.tolist() == [-1, 3, -1]
    assert np.array_equal(few.taste_VR[3], compared.second_taste_CR[1])
    assert np.array_equal(few.target_NA[0], rows.target_NA[7], equal_nan=True)


def test_a_loader_gives_its_steps_of_its_sizes_and_goes_through_all_rows() -> None:
    steps = drawn(stack_of(member_of(10, buffered=(6, 3))), 0, num_steps=30)
    assert [len(step) for step in steps] == [7] * 30
    counts = np.bincount(np.concatenate(steps), minlength=16)
    assert counts.tolist() == [12] * 10 + [15] * 6  # 120 and 90 draws: every row equally often


def test_a_part_with_fewer_rows_than_its_batch_gives_all_of_them_every_step() -> None:
    assert drawn(stack_of(member_of(3, batch_size=32)), 0, num_steps=5) == [[0, 1, 2]] * 5


def test_parts_without_rows_and_batches_of_zero_are_left_out() -> None:
    member = member_of(3, batch_size=2, buffered=(4, 0))
    assert [len(step) for step in drawn(stack_of(member), 0, num_steps=4)] == [2] * 4
    assert member.num_rows == 3


def test_a_users_draws_are_the_users_own() -> None:
    one, other = member_of(9), member_of(9)
    alone = drawn(stack_of(one), 0, 7)
    assert drawn(stack_of(other, one), 1, 7) == [[row + 9 for row in step] for step in alone]
    again = Member(0, replace(one.request, config=replace(CONFIG, seed=4)), "start")
    assert drawn(stack_of(again), 0, 7) != alone


@pytest.mark.parametrize(("num_ratings", "num_compared"), [(9, 0), (9, 7), (0, 9), (3, 2)])
def test_losses_of_steps_estimate_that_of_all_rows(num_ratings: int, num_compared: int) -> None:
    """Over whole rounds through the rows, the mean loss of steps is the loss of everything."""
    few = member_of(num_ratings, num_compared, batch_size=4, buffered=(8, 2))
    everything = member_of(num_ratings, num_compared, batch_size=64, buffered=(8, 64))
    losses = []
    for member, num_steps in ((few, 9 * 8 * 4), (everything, 1)):
        stack = stack_of(member)
        stack.module.load([parameters_of(taste_of(BASE, 0.5 * person(BASE, 3), offset=0.3), BASE, {})])
        criterion = LogLikelihood(stack.module.noise_sd_A, stack.columns.pairs)
        with torch.no_grad():
            losses.append(np.mean([criterion(stack.module(x), y).item() for x, y in StepLoader(stack, num_steps)]))
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_columns_depend_on_the_users_own_rows_and_are_of_few_sizes() -> None:
    def part(num_ratings: int, num_compared: int, batch_size: int | None = 32) -> Part:
        compared: ComparedSet = comparisons(BASE, person(BASE), num_compared, first_sequence=200)
        rated = ratings(BASE, person(BASE), max(num_ratings, 1))
        return Part(rows_of(rated if num_ratings else none_of(rated), compared), batch_size)

    assert Columns.of([part(5, 0)]) == (32, 0)
    assert Columns.of([part(100, 0)]) == (32, 0)
    assert Columns.of([part(20, 0), part(20, 0)]) == (64, 0)
    assert Columns.of([part(0, 5)]) == (0, 32)
    assert Columns.of([part(30, 5, 48)]) == (48, 48)
    assert Columns.of([part(60, 0, 40)]) == (48, 0)
    assert Columns.of([part(70, 0, None)]) == (80, 0)
    assert Columns.of([]) == (0, 0)


def test_a_mean_squared_error_is_that_of_ratings_as_served() -> None:
    stack = stack_of(member_of(6, 4), member_of(5, 2))
    request = stack.members[0].request
    error_NA = request.new.generic_NA - request.new.target_NA
    assert stack.mse_of_ratings()[0] == pytest.approx(np.square(error_NA).mean(), rel=1e-5)
    assert np.isnan(stack_of(member_of(0, 4)).mse_of_ratings()[0])
