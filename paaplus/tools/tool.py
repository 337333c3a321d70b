"""The protocol of AI tools: from images to scores with confidences. NumPy only.

A tool's result for an image is bit-identical alone, in any batch and in any order. A contract test checks it for all
tools.
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
    """The input of a tool: pixels, the base model's features, or only the image's name."""

    PIXELS = "pixels"
    FEATURES = "features"
    NAME = "name"


@dataclass(frozen=True)
class ToolImage:
    """One image as a tool's input. A field that the tool does not need may be None."""

    image: Image.Image | None = None
    features_D: np.ndarray | None = None
    names: tuple[str, ...] = ()  # id, digest, file name


@dataclass(frozen=True)
class Judgement:
    """A tool's label of one image: scores 0-10 and confidences 0-1, by aspect; both are empty if it gives none.

    Raises:
        InvalidInput: a number is not finite or out of range, or a score has no confidence.
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
    """One tool. Its `version` is another one whenever its scores could differ."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def aspects(self) -> tuple[str, ...]: ...
    @property
    def need(self) -> Need: ...

    def score(self, images: Sequence[ToolImage]) -> list[Judgement]:
        """One judgement per image, in order.

        Raises:
            InvalidInput: the tool cannot judge one of the images. The caller then tries each one alone.
        """


def within_width(sd: float) -> float:
    """Probability that a normal error is at most `WIDTH`: the confidence of a tool whose error has this sd (points)."""
    return math.erf(WIDTH / (sd * math.sqrt(2.0))) if sd > 0.0 else 1.0


def on_scale(value: float, low: float, high: float) -> float:
    """A measure on the score scale: `low` is 0, `high` is 10, linear in between, clipped outside."""
    share = min(max((value - low) / (high - low), 0.0), 1.0)
    return SCORE_MIN + share * (SCORE_MAX - SCORE_MIN)
