"""Ratings to which newer ones are added without a copy, and which stay as they are."""

from __future__ import annotations

import numpy as np

from paaplus.records import RatedSet
from paaplus.services.adaptation.growing_ratings import GrowingRatings
from tests.support.learning import base_of, person, ratings

BASE = base_of(2)
RATED = ratings(BASE, person(BASE), 40)


def part(first: int, end: int) -> RatedSet:
    return RATED.select(np.arange(first, end))


def same(found: RatedSet, expected: RatedSet) -> bool:
    return all(
        np.array_equal(getattr(found, name), getattr(expected, name), equal_nan=True)
        for name in ("taste_NR", "generic_NA", "target_NA", "weight_N")
    ) and np.array_equal(found.sequence_N, expected.sequence_N)


def test_newer_ratings_are_added_in_place_while_there_is_room() -> None:
    first = GrowingRatings(part(0, 20)).followed_by(part(20, 22))
    second = first.followed_by(part(22, 24))
    assert np.shares_memory(first.rated.taste_NR, second.rated.taste_NR)
    third = second.followed_by(part(24, 40))
    assert not np.shares_memory(second.rated.taste_NR, third.rated.taste_NR)
    assert same(first.rated, part(0, 22))
    assert same(second.rated, part(0, 24))
    assert same(third.rated, RATED)


def test_two_that_follow_the_same_ones_do_not_disturb_each_other() -> None:
    first = GrowingRatings(part(0, 20)).followed_by(part(20, 22))
    one, other = first.followed_by(part(22, 24)), first.followed_by(part(30, 32))
    assert same(one.rated, part(0, 24))
    assert same(other.rated, RatedSet.concatenate(part(0, 22), part(30, 32)))


def test_some_of_them_have_arrays_of_their_own() -> None:
    first = GrowingRatings(part(0, 20)).followed_by(part(20, 22))
    some = first.select(np.arange(22) != 5)
    assert same(some.followed_by(part(22, 25)).rated, RATED.select(np.isin(np.arange(40), [*range(5), *range(6, 25)])))
    assert same(first.rated, part(0, 22))
