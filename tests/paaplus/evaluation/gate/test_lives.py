"""Lives, checked by hand."""

from __future__ import annotations

import numpy as np

from paaplus.evaluation.gate.lives import LIVES, compared_pairs, preferences
from paaplus.records import PREFERS_FIRST, PREFERS_SECOND, TIE

RATINGS_NA = np.arange(10.0)[:, None]


def sent(life: str) -> np.ndarray:
    return LIVES[life].spoil(RATINGS_NA, np.random.default_rng(0))[:, 0]


def answered(life: str) -> np.ndarray:
    honest_CA = np.tile([[PREFERS_FIRST], [PREFERS_SECOND], [TIE]], (20, 1))
    return LIVES[life].answer(honest_CA, np.random.default_rng(0))[:, 0]


def test_each_life_of_ratings_is_as_described() -> None:
    np.testing.assert_array_equal(sent("honest"), RATINGS_NA[:, 0])
    np.testing.assert_array_equal(np.sort(sent("shuffled")), RATINGS_NA[:, 0])
    assert not np.array_equal(sent("shuffled"), RATINGS_NA[:, 0])
    np.testing.assert_array_equal(sent("contrarian"), 10.0 - RATINGS_NA[:, 0])
    np.testing.assert_array_equal(sent("flipped"), [0, 1, 2, 3, 4, 5, 4, 3, 2, 1])
    np.testing.assert_array_equal(sent("constant"), np.zeros(10))
    np.testing.assert_array_equal(sent("honest, then shuffled")[:5], np.arange(5.0))
    np.testing.assert_array_equal(sent("shuffled, then honest")[5:], np.arange(5.0, 10.0))
    assert set(sent("uniform")) <= set(RATINGS_NA[:, 0])
    assert 0 < (sent("half") != RATINGS_NA[:, 0]).sum() < 10


def test_each_life_of_comparisons_is_as_described() -> None:
    assert set(answered("comparisons: coin")) == {PREFERS_FIRST, PREFERS_SECOND}
    assert (answered("comparisons: always first") == PREFERS_FIRST).all()
    assert (answered("comparisons: circles").reshape(20, 3) == answered("comparisons: circles")[::3, None]).all()
    np.testing.assert_array_equal(answered("comparisons: contrarian")[:3], [PREFERS_SECOND, PREFERS_FIRST, TIE])


def test_circles_are_closed() -> None:
    pairs_C2 = compared_pairs(20, 9, True, np.random.default_rng(0))
    for first, second, third in pairs_C2.reshape(3, 3, 2):
        assert (first[1], second[1], third[1]) == (second[0], third[0], first[0])
    assert (np.diff(compared_pairs(20, 50, False, np.random.default_rng(0))) != 0).all()


def test_preferences_follow_ratings() -> None:
    first_CA, second_CA = np.array([[3.0], [1.0], [2.0]]), np.array([[1.0], [3.0], [2.0]])
    np.testing.assert_array_equal(preferences(first_CA, second_CA)[:, 0], [PREFERS_FIRST, PREFERS_SECOND, TIE])
