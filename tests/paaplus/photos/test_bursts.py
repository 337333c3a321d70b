"""Bursts without times: neighbours that look alike, never different pictures of the built-in set."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from paaplus.photos.bursts import NEIGHBOUR_BITS, Seen, best_of_bursts, find_neighbours, look_of
from paaplus.studio import tour


def num_bits(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [picture.load(320) for picture in tour.pictures()]


def test_different_pictures_differ_in_more_bits_than_neighbours_may(pictures: list[Image.Image]) -> None:
    looks = [look_of(picture) for picture in pictures]
    least = min(num_bits(first, second) for n, first in enumerate(looks) for second in looks[:n])
    assert least >= 16 > NEIGHBOUR_BITS
    assert find_neighbours([Seen(None, look, 1.0) for look in looks]) == [None] * len(looks)


def test_a_camera_that_moves_a_little_makes_a_burst_and_its_best_is_the_highest_score(
    pictures: list[Image.Image],
) -> None:
    rng = np.random.default_rng(0)
    num_found = 0
    for picture, other in pairwise(pictures):
        left, top = (int(rng.uniform(0, 0.01 * side)) for side in picture.size)
        moved = picture.crop((left, top, left + int(0.99 * picture.width), top + int(0.99 * picture.height)))
        seen = [Seen(None, look_of(each), score) for each, score in ((picture, 4.0), (moved, 6.0), (other, 5.0))]
        found = find_neighbours(seen)
        assert found[2] is None
        if found[0] is not None:
            num_found += 1
            assert found[:2] == [1, 1]
            assert best_of_bursts(seen, found) == [False, True, False]
    assert num_found >= 0.95 * (len(pictures) - 1)


def test_pictures_that_cannot_be_seen_or_have_no_contrast_are_in_no_burst() -> None:
    flat = look_of(Image.new("RGB", (90, 80), "grey"))
    assert (
        find_neighbours([Seen(None, flat, 1.0), Seen(None, flat, 2.0), Seen(None, "", 3.0), Seen(None, "", 4.0)])
        == [None] * 4
    )
