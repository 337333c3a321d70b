"""Anchors of a score: of what a person has rated, the nearest below it and the nearest above it. NumPy-free.

"6.4" says little; "above this picture, which you gave a 6, and below that one, which you gave a 7" can be checked.

Source:
    SR-IAA's law of comparison with references, here with the person's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class RatedImage:
    """One rated image: the person's rating on the score scale, and its number in their log."""

    image_id: UUID
    score: float
    sequence: int


@dataclass(frozen=True, slots=True)
class Anchors:
    """The nearest rated images on either side; None: nothing was rated so low, or so high."""

    below: RatedImage | None
    above: RatedImage | None


def find_anchors(score: float, rated: Sequence[RatedImage]) -> Anchors:
    """Of equal ratings the latest. A rating that equals the score is below it."""
    below = [one for one in rated if one.score <= score]
    above = [one for one in rated if one.score > score]
    return Anchors(
        max(below, key=lambda one: (one.score, one.sequence), default=None),
        min(above, key=lambda one: (one.score, -one.sequence), default=None),
    )
