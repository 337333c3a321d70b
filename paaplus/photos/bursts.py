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
COPY_BITS: Final = 2  # of the same picture in another size or file
_FLAT: Final = 6  # bits of a picture without contrast, which looks like any other such


class Seen(NamedTuple):
    """One photograph: when it was taken, what it looks like, and its score."""

    taken_at: datetime | None
    look: str
    score: float


def look_of(image: Image.Image) -> str:
    """The difference hash of a picture, 16 hexadecimal digits."""
    gray_HW = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX, reducing_gap=None), np.int16)
    return np.packbits(gray_HW[:, 1:] > gray_HW[:, :-1]).tobytes().hex()


def find_bursts(photographs: Sequence[Seen]) -> list[int | None]:
    """The number of each photograph's burst, from 1 in order of the best; None: it is in none."""
    look_NB = np.array([list(bytes.fromhex(each.look or "0" * 16)) for each in photographs], np.uint8).reshape(-1, 8)
    bits_NB = np.unpackbits(look_NB, axis=1)
    parent = list(range(len(photographs)))

    def root(n: int) -> int:
        while parent[n] != n:
            parent[n] = parent[parent[n]]
            n = parent[n]
        return n

    def join(n: int, m: int) -> None:
        parent[root(n)] = root(m)

    timed = sorted(
        (n for n, each in enumerate(photographs) if each.taken_at is not None), key=lambda n: _time(photographs[n])
    )
    for place, n in enumerate(timed):
        for m in timed[place + 1 :]:
            if _time(photographs[m]) - _time(photographs[n]) > BURST_GAP:
                break
            if np.count_nonzero(bits_NB[n] != bits_NB[m]) <= BURST_BITS:
                join(n, m)
    _join_copies(photographs, bits_NB, join)
    members: dict[int, list[int]] = {}
    for n in range(len(photographs)):
        members.setdefault(root(n), []).append(n)
    bursts = sorted(
        (group for group in members.values() if len(group) > 1),
        key=lambda group: -max(photographs[n].score for n in group),
    )
    found: list[int | None] = [None] * len(photographs)
    for number, group in enumerate(bursts, 1):
        for n in group:
            found[n] = number
    return found


def best_of_bursts(photographs: Sequence[Seen], bursts: Sequence[int | None]) -> list[bool]:
    """Whether each photograph is the best of its burst: the highest score, the first of equal ones."""
    best: dict[int, int] = {}
    for n, (each, burst) in enumerate(zip(photographs, bursts, strict=True)):
        if burst is not None and (burst not in best or each.score > photographs[best[burst]].score):
            best[burst] = n
    return [best.get(burst) == n if burst is not None else False for n, burst in enumerate(bursts)]


def _time(photograph: Seen) -> datetime:
    assert photograph.taken_at is not None
    return photograph.taken_at


def _join_copies(photographs: Sequence[Seen], bits_NB: np.ndarray, join: object) -> None:
    """Join those that look the same. Two with known times that differ are two photographs, not copies."""
    num_bits_N = bits_NB.sum(1)
    packed_NB = np.packbits(bits_NB, axis=1)
    table = np.array([bin(value).count("1") for value in range(256)], np.uint8)
    for n in range(len(photographs)):
        if not _FLAT <= num_bits_N[n] <= 64 - _FLAT:
            continue
        distance_M = table[packed_NB[n + 1 :] ^ packed_NB[n]].sum(1)
        for m in (np.flatnonzero(distance_M <= COPY_BITS) + n + 1).tolist():
            first, second = photographs[n].taken_at, photographs[m].taken_at
            if first is None or second is None or abs(first - second) <= BURST_GAP:
                join(n, m)  # type: ignore[operator]
