"""Search the edit of one image that raises its score most: every filter in a grid, then the best pair of filters.

The scorer is a black box, from images to scores. An edit's size is the mean absolute change of the pixels, 0-1. Each
direction of each filter is tried at five strengths, up to the strongest within the budget. Then every other filter is
tried on top of the best single edit, both together within the budget. Nothing is drawn at random: the same image and
scorer give the same edit.

Shape letters: H, W = height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from paaplus.evaluation.robustness.filters import DIRECTIONS, Direction

SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)  # of the strongest edit within the budget
MAX_SIDE_PX = 384  # images are made smaller first: a model's input is smaller still
_BISECTIONS = 12
_MIN_STRENGTH = 1e-3
_LEVELS = 255.0

Scorer = Callable[[Sequence[Image.Image]], np.ndarray]


@dataclass(frozen=True)
class Step:
    """One filter in one direction, at a strength of 0-1."""

    direction: Direction
    strength: float

    def apply(self, pixel_3HW: np.ndarray) -> np.ndarray:
        return self.direction.apply(pixel_3HW, self.strength)


@dataclass(frozen=True)
class Edit:
    """Up to two filters, one after the other; none: the image as it is. `change`: mean absolute change of pixels."""

    steps: tuple[Step, ...] = ()
    change: float = 0.0

    @property
    def words(self) -> str:
        return " and ".join(step.direction.words for step in self.steps) or "unchanged"


@dataclass(frozen=True)
class Attack:
    """The result on one image.

    Attributes:
        clean: score of the image.
        attacked: the highest score that was found; `clean` if none is higher.
        edit: the edit that gives it.
        best_by_filter: per filter the highest score of a single edit; NaN if the budget allows none.
        words_by_filter: per filter the words of that edit.
        course: the highest score after each edit that was tried, in order; the first is `clean`.
        before: the image that was scored.
        after: the edited image.
    """

    clean: float
    attacked: float
    edit: Edit
    best_by_filter: dict[str, float]
    words_by_filter: dict[str, str]
    course: tuple[float, ...]
    before: Image.Image
    after: Image.Image


def prepare(image: Image.Image) -> Image.Image:
    """The image as it is attacked: RGB, its long side at most `MAX_SIDE_PX`."""
    small = image.convert("RGB")
    small.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.BILINEAR)
    return small


def strongest_edits(image: Image.Image, budget: float) -> list[Image.Image]:
    """The image, which `prepare` returned, edited by each direction alone, as strongly as the budget allows."""
    pixel_3HW = np.asarray(image, np.float64).transpose(2, 0, 1) / _LEVELS
    edited = []
    for direction in DIRECTIONS:
        strength = _strongest(pixel_3HW, pixel_3HW, direction, budget)
        if strength >= _MIN_STRENGTH:
            edited.append(_image(direction.apply(pixel_3HW, strength)))
    return edited


def attack(image: Image.Image, score: Scorer, budget: float) -> Attack:
    """Search one image, which `prepare` returned.

    Args:
        image: the image.
        score: scores of images, shape (B,).
        budget: largest mean absolute change of the pixels, 0-1.
    """
    pixel_3HW = np.asarray(image, np.float64).transpose(2, 0, 1) / _LEVELS
    clean = float(score([image])[0])
    singles = _edits(pixel_3HW, pixel_3HW, Edit(), DIRECTIONS, budget)
    score_of = _scored(pixel_3HW, singles, score)
    best_by_filter, words_by_filter = _by_filter(singles, score_of)
    best, attacked = _better(Edit(), clean, singles, score_of)
    course = [clean, *score_of]
    if best.steps:
        others = [one for one in DIRECTIONS if one.filter != best.steps[0].direction.filter]
        pairs = _edits(pixel_3HW, best.steps[0].apply(pixel_3HW), best, others, budget)
        pair_scores = _scored(pixel_3HW, pairs, score)
        best, attacked = _better(best, attacked, pairs, pair_scores)
        course += pair_scores
    return Attack(
        clean=clean,
        attacked=attacked,
        edit=best,
        best_by_filter=best_by_filter,
        words_by_filter=words_by_filter,
        course=tuple(np.maximum.accumulate(course).tolist()),
        before=image,
        after=_image(_applied(pixel_3HW, best)),
    )


def _edits(
    original_3HW: np.ndarray, start_3HW: np.ndarray, before: Edit, directions: Sequence[Direction], budget: float
) -> list[Edit]:
    """Every direction at five strengths, after the steps of `before`; none where the budget allows nothing."""
    edits = []
    for direction in directions:
        strongest = _strongest(original_3HW, start_3HW, direction, budget)
        if strongest < _MIN_STRENGTH:
            continue
        for share in SHARES:
            step = Step(direction, share * strongest)
            edits.append(Edit((*before.steps, step), _change(original_3HW, step.apply(start_3HW))))
    return [edit for edit in edits if 0.0 < edit.change <= budget]


def _strongest(original_3HW: np.ndarray, start_3HW: np.ndarray, direction: Direction, budget: float) -> float:
    """The largest strength whose change is within the budget, by bisection: a change grows with the strength."""
    if budget <= 0.0:
        return 0.0
    if _change(original_3HW, direction.apply(start_3HW, 1.0)) <= budget:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _change(original_3HW, direction.apply(start_3HW, middle)) <= budget:
            low = middle
        else:
            high = middle
    return low


def _change(original_3HW: np.ndarray, pixel_3HW: np.ndarray) -> float:
    return float(np.abs(pixel_3HW - original_3HW).mean())


def _applied(pixel_3HW: np.ndarray, edit: Edit) -> np.ndarray:
    for step in edit.steps:
        pixel_3HW = step.apply(pixel_3HW)
    return pixel_3HW


def _image(pixel_3HW: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(pixel_3HW, 0.0, 1.0) * _LEVELS).astype(np.uint8).transpose(1, 2, 0).copy())


def _scored(pixel_3HW: np.ndarray, edits: Sequence[Edit], score: Scorer) -> list[float]:
    return [float(value) for value in score([_image(_applied(pixel_3HW, edit)) for edit in edits])] if edits else []


def _better(best: Edit, highest: float, edits: Sequence[Edit], scores: Sequence[float]) -> tuple[Edit, float]:
    """The first of the highest, if it is higher than what there is."""
    for edit, score in zip(edits, scores, strict=True):
        if score > highest:
            best, highest = edit, score
    return best, highest


def _by_filter(edits: Sequence[Edit], scores: Sequence[float]) -> tuple[dict[str, float], dict[str, str]]:
    best = {direction.filter: float("nan") for direction in DIRECTIONS}
    words: dict[str, str] = {}
    for edit, score in zip(edits, scores, strict=True):
        direction = edit.steps[0].direction
        if not score <= best[direction.filter]:
            best[direction.filter], words[direction.filter] = score, direction.words
    return best, words
