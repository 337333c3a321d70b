"""Pairs that are asked again: when, which one, and with the sides swapped."""

from __future__ import annotations

import numpy as np

from paaplus.scoring import check_pairs

GENERIC = {image: np.array([score]) for image, score in enumerate([1.0, 2.0, 5.0, 9.0])}
ASKED = [(0, 1), (1, 3), (2, 1), (0, 3)]


def test_the_fifth_pair_of_a_quiz_and_every_tenth_after_it_is_an_earlier_one() -> None:
    assert [place + 1 for place in range(30) if check_pairs.is_due(place)] == [5, 15, 25]


def test_the_pair_that_is_easiest_to_tell_apart_is_asked_again_but_not_the_last_one() -> None:
    assert check_pairs.choose(ASKED, GENERIC, lambda pair: True) == (3, 1)


def test_no_pair_is_asked_a_third_time() -> None:
    assert check_pairs.choose([*ASKED, (3, 1), (0, 2)], GENERIC, lambda pair: True) == (3, 0)


def test_a_tie_tells_nothing_about_sides() -> None:
    assert check_pairs.choose(ASKED, GENERIC, lambda pair: pair != (1, 3)) == (1, 2)
    assert check_pairs.choose(ASKED, GENERIC, lambda pair: False) is None


def test_images_that_cannot_be_asked_about_any_more_are_left_out() -> None:
    left = {image: score for image, score in GENERIC.items() if image != 3}
    assert check_pairs.choose(ASKED, left, lambda pair: True) == (1, 2)
