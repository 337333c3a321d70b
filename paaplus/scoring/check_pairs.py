"""One pair in ten of a quiz is asked again with its sides swapped: it tells who chooses sides and not images.

`scoring.sides` reads the answers. The second answer counts in place of the first one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final, TypeVar

import numpy as np

_EVERY: Final = 10
_FIRST: Final = 5  # the 5th, 15th, ... pair

Image = TypeVar("Image", bound=Hashable)


def is_due(num_answered: int) -> bool:
    """Whether the pair after so many answers is an earlier one."""
    return num_answered % _EVERY == _FIRST - 1


def choose(
    asked: Sequence[tuple[Image, Image]],
    generic: Mapping[Image, np.ndarray],
    has_preference: Callable[[tuple[Image, Image]], bool],
) -> tuple[Image, Image] | None:
    """The pair that is easiest to tell apart, by generic scores, with its sides swapped; None: there is none.

    Args:
        asked: the quiz's pairs so far, in order. The last one is not asked again at once, nor one that was already.
        generic: generic scores by image, each of shape (A,); only pairs of these images can be asked.
        has_preference: whether a pair's answer prefers one of its images.
    """
    earlier = [
        (first, second)
        for first, second in asked[:-1]
        if (second, first) not in asked and {first, second} <= generic.keys() and has_preference((first, second))
    ]

    def difference(pair: tuple[Image, Image]) -> float:
        return float(np.abs(generic[pair[0]] - generic[pair[1]]).sum())

    return max(earlier, key=difference)[::-1] if earlier else None
