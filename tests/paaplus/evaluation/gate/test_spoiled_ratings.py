"""Spoiled ratings, checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.evaluation.gate.spoiled_ratings import HONEST, SPOIL, first_spoiled, spoiled

RATINGS_NA = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0], [7.0, 8.0], [9.0, 10.0], [2.0, 3.0]])


def test_only_ratings_from_start_on_are_spoiled() -> None:
    for origin in SPOIL:
        after_NA = spoiled(origin, RATINGS_NA, 3, np.random.default_rng(0))
        np.testing.assert_array_equal(after_NA[:3], RATINGS_NA[:3])
        assert not np.array_equal(after_NA[3:], RATINGS_NA[3:])
    assert spoiled(HONEST, RATINGS_NA, 0, np.random.default_rng(0)) is RATINGS_NA


def test_each_kind_spoils_as_described() -> None:
    kinds = {origin: spoiled(origin, RATINGS_NA, 2, np.random.default_rng(1))[2:] for origin in SPOIL}
    np.testing.assert_array_equal(kinds["flipped"], [[5.0, 4.0], [3.0, 2.0], [1.0, 0.0], [8.0, 7.0]])
    np.testing.assert_array_equal(kinds["constant"], [[5.0, 6.0]] * 4)
    np.testing.assert_array_equal(np.sort(kinds["shuffled"], axis=0), np.sort(RATINGS_NA[2:], axis=0))


@pytest.mark.parametrize(("origin", "first", "update"), [("shuffled", 0, 5), ("constant", 0, 5), ("flipped", 5, 5)])
def test_flips_begin_at_the_middle_and_others_after_the_active_versions_ratings(
    origin: str, first: int, update: int
) -> None:
    assert first_spoiled(origin, 10, 0) == first
    assert first_spoiled(origin, 10, 5) == update
