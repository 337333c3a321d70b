"""What an AI tool is: it looks at images, one by one in effect, and says scores with confidences. NumPy only.

A tool must be independent of what else is in the batch: the same image gives the same bits alone, in any batch and in
any order. A contract test holds all tools to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from PIL import Image

from paaplus.errors import InvalidInput
from paaplus.records import SCORE_MAX, SCORE_MIN
from paaplus.scoring.reward import WIDTH


class Need(StrEnum):
    """What a tool looks at. FEATURES: the base model's. NAME: nothing of the image, rows that name it."""

    PIXELS = "pixels"
    FEATURES = "features"
    NAME = "name"


@dataclass(frozen=True)
class ToolImage:
    """One image as tools see it; what a tool does not need may be missing."""

    image: Image.Image | None = None
    features_D: np.ndarray | None = None
    names: tuple[str, ...] = ()  # id, digest, file name: whatever rows may call it


@dataclass(frozen=True)
class Judgement:
    """What a tool says of one image: scores 0-10 and confidences 0-1, by aspect; both empty: it has no word on it.

    Raises:
        InvalidInput: numbers that are not finite or out of range, or a score without confidence.
    """

    scores: dict[str, float]
    confidences: dict[str, float]

    def __post_init__(self) -> None:
        if self.scores.keys() != self.confidences.keys():
            raise InvalidInput(f"scores of {sorted(self.scores)}, confidences of {sorted(self.confidences)}")
        for aspect, score in self.scores.items():
            if not SCORE_MIN <= score <= SCORE_MAX:  # false for NaN
                raise InvalidInput(f"{aspect}: a score of {score}, not {SCORE_MIN:g} to {SCORE_MAX:g}")
            if not 0.0 <= self.confidences[aspect] <= 1.0:
                raise InvalidInput(f"{aspect}: a confidence of {self.confidences[aspect]}, not 0 to 1")


class Tool(Protocol):
    """One tool, ready to look at images. `version` changes whenever its numbers could."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def aspects(self) -> tuple[str, ...]: ...
    @property
    def need(self) -> Need: ...

    def score(self, images: Sequence[ToolImage]) -> list[Judgement]:
        """One judgement an image, in order.

        Raises:
            InvalidInput: an image that this tool cannot judge; the others are asked about without it.
        """


def within_width(sd: float) -> float:
    """Probability that a normal error of this sd is at most `WIDTH`: the confidence of a tool that knows its sd."""
    return math.erf(WIDTH / (sd * math.sqrt(2.0))) if sd > 0.0 else 1.0


def on_scale(value: float, low: float, high: float) -> float:
    """A measure on the score scale: `low` is 0, `high` is 10, straight in between, cut outside."""
    share = min(max((value - low) / (high - low), 0.0), 1.0)
    return SCORE_MIN + share * (SCORE_MAX - SCORE_MIN)
