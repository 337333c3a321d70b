"""Bursts: photographs of the same second that look alike, and copies of one picture. One of each burst is the best.

A look is a difference hash: the picture as 9 x 8 gray pixels, and for each pixel whether the one to its right is
brighter, 64 bits (N. Krawetz, "Kind of like that", 2013). Two pictures are as unlike as the number of bits that differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
from PIL import Image

BURST_GAP: Final = timedelta(seconds=1)  # between two photographs of a burst
BURST_BITS: Final = 14  # in which they may differ: the camera and what it sees move a little
NEIGHBOUR_BITS: Final = 12  # in which two may differ that follow each other, where nobody knows when they were taken
COPY_BITS: Final = 2  # of the same picture in another size or file
_FLAT: Final = 6  # bits of a picture without contrast, which looks like any other such


class Seen(NamedTuple):
    """One photograph: when it was taken, what it looks like, and its score."""

    taken_at: datetime | None
    look: str
    score: float


class _Groups:
    """Which of N things belong together: sets that are joined two by two."""

    def __init__(self, num: int) -> None:
        self._parent = list(range(num))

    def join(self, n: int, m: int) -> None:
        self._parent[self._root(n)] = self._root(m)

    def roots(self) -> list[int]:
        """The number of each one's group."""
        return [self._root(n) for n in range(len(self._parent))]

    def _root(self, n: int) -> int:
        while self._parent[n] != n:
            self._parent[n] = self._parent[self._parent[n]]
            n = self._parent[n]
        return n


def look_of(image: Image.Image) -> str:
    """The difference hash of a picture, 16 hexadecimal digits."""
    gray_HW = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX, reducing_gap=None), np.int16)
    return np.packbits(gray_HW[:, 1:] > gray_HW[:, :-1]).tobytes().hex()


def find_bursts(photographs: Sequence[Seen]) -> list[int | None]:
    """The number of each photograph's burst, from 1 in order of the best; None: it is in none."""
    bits_NB = _bits(photographs)
    groups = _Groups(len(photographs))
    timed = sorted(
        (n for n, each in enumerate(photographs) if each.taken_at is not None), key=lambda n: _time(photographs[n])
    )
    for place, n in enumerate(timed):
        for m in timed[place + 1 :]:
            if _time(photographs[m]) - _time(photographs[n]) > BURST_GAP:
                break
            if np.count_nonzero(bits_NB[n] != bits_NB[m]) <= BURST_BITS:
                groups.join(n, m)
    _join_copies(photographs, bits_NB, groups)
    return _numbered(photographs, groups.roots())


def find_neighbours(photographs: Sequence[Seen]) -> list[int | None]:
    """As `find_bursts`, for photographs without times: those that follow each other and look alike, and copies.

    They must be in the order in which they were taken, for example of their names. Fewer bits may differ than where
    the times speak for a burst: different pictures of the built-in set differ in 16 bits and more.
    """
    groups = _Groups(len(photographs))
    bits_NB = _bits(photographs)
    has_contrast_N = _has_contrast(bits_NB)
    for n in range(1, len(photographs)):
        if not (has_contrast_N[n - 1] and has_contrast_N[n]):
            continue
        if np.count_nonzero(bits_NB[n - 1] != bits_NB[n]) <= NEIGHBOUR_BITS:
            groups.join(n - 1, n)
    _join_copies(photographs, bits_NB, groups)
    return _numbered(photographs, groups.roots())


def best_of_bursts(photographs: Sequence[Seen], bursts: Sequence[int | None]) -> list[bool]:
    """Whether each photograph is the best of its burst: the highest score, the first of equal ones."""
    best: dict[int, int] = {}
    for n, (each, burst) in enumerate(zip(photographs, bursts, strict=True)):
        if burst is not None and (burst not in best or each.score > photographs[best[burst]].score):
            best[burst] = n
    return [best.get(burst) == n if burst is not None else False for n, burst in enumerate(bursts)]


def _bits(photographs: Sequence[Seen]) -> np.ndarray:
    """The looks as bits, shape (N, 64)."""
    look_NB = np.array([list(bytes.fromhex(each.look or "0" * 16)) for each in photographs], np.uint8).reshape(-1, 8)
    return np.unpackbits(look_NB, axis=1)


def _has_contrast(bits_NB: np.ndarray) -> np.ndarray:
    """Which looks say anything, shape (N,), bool."""
    num_bits_N = bits_NB.sum(1)
    return np.asarray((num_bits_N >= _FLAT) & (num_bits_N <= 64 - _FLAT))


def _numbered(photographs: Sequence[Seen], group_N: Sequence[int]) -> list[int | None]:
    """Numbers of the groups of more than one, from 1 in order of the best; None: alone."""
    members: dict[int, list[int]] = {}
    for n in range(len(photographs)):
        members.setdefault(group_N[n], []).append(n)
    bursts = sorted(
        (group for group in members.values() if len(group) > 1),
        key=lambda group: -max(photographs[n].score for n in group),
    )
    found: list[int | None] = [None] * len(photographs)
    for number, group in enumerate(bursts, 1):
        for n in group:
            found[n] = number
    return found


def _time(photograph: Seen) -> datetime:
    assert photograph.taken_at is not None
    return photograph.taken_at


def _join_copies(photographs: Sequence[Seen], bits_NB: np.ndarray, groups: _Groups) -> None:
    """Join those that look the same. Two with known times that differ are two photographs, not copies."""
    has_contrast_N = _has_contrast(bits_NB)
    packed_NB = np.packbits(bits_NB, axis=1)
    table = np.array([bin(value).count("1") for value in range(256)], np.uint8)
    for n in range(len(photographs)):
        if not has_contrast_N[n]:
            continue
        distance_M = table[packed_NB[n + 1 :] ^ packed_NB[n]].sum(1)
        for m in (np.flatnonzero(distance_M <= COPY_BITS) + n + 1).tolist():
            first, second = photographs[n].taken_at, photographs[m].taken_at
            if first is None or second is None or abs(first - second) <= BURST_GAP:
                groups.join(n, m)
