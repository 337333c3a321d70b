"""Values that the packages pass to each other: frozen, without SQL and torch.

Shape letters: N = ratings of one user, C = comparisons of one user, R = taste space dimensions, A = aspects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from paaplus.errors import InvalidInput

SCORE_MIN = 0.0
SCORE_MAX = 10.0


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale a person rated on, e.g. 1 to 7."""

    minimum: float
    maximum: float

    def __post_init__(self) -> None:
        # The width of two finite numbers can be infinite; then every score would be NaN.
        if not (self.minimum < self.maximum and math.isfinite(float(self.maximum) - float(self.minimum))):
            raise InvalidInput(f"scale {self.minimum} to {self.maximum}: it needs min below max, and a finite width")

    def to_score(self, rating: float) -> float:
        """The rating on the 0-10 scale of scores.

        Raises:
            InvalidInput: outside the scale, NaN or infinite.
        """
        if not self.minimum <= rating <= self.maximum:
            raise InvalidInput(f"rating {rating} is outside its scale {self.minimum} to {self.maximum}")
        return SCORE_MIN + (rating - self.minimum) / (self.maximum - self.minimum) * (SCORE_MAX - SCORE_MIN)


@dataclass(frozen=True, slots=True)
class RatedSet:
    """Ratings of one user on distinct images, as arrays for training or the gate.

    `sequence_N` are the events' numbers in the user's log; a learner state refers to events by them. Targets are on
    the score scale, NaN for an aspect that was not rated. Rows are in increasing sequence.

    `answered_at_N` is when each answer was given, in microseconds since 1970, or in any other unit that orders it (the
    sequence, where nothing else is known).
    """

    sequence_N: np.ndarray  # int64
    taste_NR: np.ndarray  # float32: images in taste space (`BaseScorer.project`)
    generic_NA: np.ndarray  # float32: generic scores
    target_NA: np.ndarray  # float32
    weight_N: np.ndarray  # float32: how much each rating counts, 1 by default
    answered_at_N: np.ndarray  # int64

    def __post_init__(self) -> None:
        _check_columns("a rated set", {name: getattr(self, name) for name in _RATED}, self.sequence_N)

    def __len__(self) -> int:
        return len(self.sequence_N)

    @property
    def num_aspects(self) -> int:
        return int(self.target_NA.shape[1])

    def check(self, what: str, taste_dim: int, num_aspects: int) -> None:
        """Check that training can read the rows, on a base model with so many taste dimensions and aspects.

        Raises:
            InvalidInput: they do not fit the base model, or hold numbers that cannot be; it begins with `what`.
        """
        images = [(self.taste_NR, self.generic_NA)]
        _check_rows(what, images, self.target_NA, self.weight_N, (taste_dim, num_aspects))
        if np.isinf(self.target_NA).any():
            raise InvalidInput(f"{what} with infinite targets")

    def select(self, index: np.ndarray | slice) -> Self:
        """The rows of a boolean mask, of increasing positions, or of a slice, which is a view."""
        return type(self)(*(getattr(self, name)[index] for name in _RATED))

    @classmethod
    def concatenate(cls, *parts: Self) -> Self:
        """All parts as one, put in order of sequence."""
        filled = [part for part in parts if len(part)] or parts[:1]
        if len(filled) == 1:
            return filled[0]
        columns = {name: np.concatenate([getattr(p, name) for p in filled]) for name in _RATED}
        sequence_N = columns["sequence_N"]
        if not np.all(sequence_N[1:] > sequence_N[:-1]):  # usually they are in order already
            order = np.argsort(sequence_N, kind="stable")
            columns = {name: column[order] for name, column in columns.items()}
        return cls(**columns)

    @classmethod
    def of(
        cls,
        sequence_N: np.ndarray,
        taste_NR: np.ndarray,
        generic_NA: np.ndarray,
        target_NA: np.ndarray,
        weight_N: np.ndarray | None = None,
        answered_at_N: np.ndarray | None = None,
    ) -> Self:
        """Build with the dtypes that learning expects."""
        return cls(
            sequence_N=np.asarray(sequence_N, np.int64),
            taste_NR=np.asarray(taste_NR, np.float32),
            generic_NA=np.asarray(generic_NA, np.float32),
            target_NA=np.asarray(target_NA, np.float32),
            weight_N=np.ones(len(sequence_N), np.float32) if weight_N is None else np.asarray(weight_N, np.float32),
            answered_at_N=np.asarray(sequence_N if answered_at_N is None else answered_at_N, np.int64),
        )


PREFERS_FIRST, PREFERS_SECOND, TIE = 1.0, 0.0, 0.5
LIKED, DISLIKED = 2.0, -1.0  # an image beside the person's middle; exchanging the two sides exchanges them, as above
ANSWERS = (PREFERS_FIRST, PREFERS_SECOND, TIE, LIKED, DISLIKED)


@dataclass(frozen=True, slots=True)
class ComparedSet:
    """Comparisons of one user, each of two distinct images, as arrays for training; and likes.

    `sequence_C` are the events' numbers in the user's log, as in `RatedSet`; no number is in both. Preferences are 1
    (the first image), 0 (the second), 0.5 (a tie), NaN (cannot say, or not asked). Rows are in increasing sequence.

    A like compares an image with the person's *middle*: the score above which the person likes images. Its preference
    is 2 (liked) or -1 (disliked). Its second image is made up: of taste zero and a generic score that stands for the
    middle, which `scoring.middles` estimates.
    """

    sequence_C: np.ndarray  # int64
    first_taste_CR: np.ndarray  # float32
    first_generic_CA: np.ndarray  # float32
    second_taste_CR: np.ndarray  # float32
    second_generic_CA: np.ndarray  # float32
    preference_CA: np.ndarray  # float32
    weight_C: np.ndarray  # float32: how much each comparison counts, 1 by default
    answered_at_C: np.ndarray  # int64, as in `RatedSet`

    def __post_init__(self) -> None:
        _check_columns("a compared set", {name: getattr(self, name) for name in _COMPARED}, self.sequence_C)

    def __len__(self) -> int:
        return len(self.sequence_C)

    def check(self, what: str, taste_dim: int, num_aspects: int) -> None:
        """As `RatedSet.check`; without rows, any width is right."""
        if not len(self):
            return
        images = [(self.first_taste_CR, self.first_generic_CA), (self.second_taste_CR, self.second_generic_CA)]
        _check_rows(what, images, self.preference_CA, self.weight_C, (taste_dim, num_aspects))
        if not np.isin(self.preference_CA[~np.isnan(self.preference_CA)], ANSWERS).all():
            raise InvalidInput(f"{what} with preferences other than {', '.join(f'{a:g}' for a in ANSWERS)}")

    def select(self, index: np.ndarray) -> Self:
        """The rows of a boolean mask or of increasing positions."""
        return type(self)(*(getattr(self, name)[index] for name in _COMPARED))

    @classmethod
    def concatenate(cls, *parts: Self) -> Self:
        """All parts as one, put in order of sequence; parts without rows may be of any width."""
        filled = [part for part in parts if len(part)]
        if len(filled) < 2:
            return (filled or parts)[0]
        columns = {name: np.concatenate([getattr(p, name) for p in filled]) for name in _COMPARED}
        order = np.argsort(columns["sequence_C"], kind="stable")
        return cls(**{name: column[order] for name, column in columns.items()})

    @classmethod
    def of(
        cls,
        sequence_C: np.ndarray,
        first_taste_CR: np.ndarray,
        first_generic_CA: np.ndarray,
        second_taste_CR: np.ndarray,
        second_generic_CA: np.ndarray,
        preference_CA: np.ndarray,
        weight_C: np.ndarray | None = None,
        answered_at_C: np.ndarray | None = None,
    ) -> Self:
        """Build with the dtypes that learning expects."""
        return cls(
            sequence_C=np.asarray(sequence_C, np.int64),
            first_taste_CR=np.asarray(first_taste_CR, np.float32),
            first_generic_CA=np.asarray(first_generic_CA, np.float32),
            second_taste_CR=np.asarray(second_taste_CR, np.float32),
            second_generic_CA=np.asarray(second_generic_CA, np.float32),
            preference_CA=np.asarray(preference_CA, np.float32),
            weight_C=np.ones(len(sequence_C), np.float32) if weight_C is None else np.asarray(weight_C, np.float32),
            answered_at_C=np.asarray(sequence_C if answered_at_C is None else answered_at_C, np.int64),
        )


def is_like(preference_CA: np.ndarray) -> np.ndarray:
    """Whether each answer is a like or a dislike; of the same shape."""
    return np.asarray((preference_CA == LIKED) | (preference_CA == DISLIKED))


def _check_columns(what: str, columns: dict[str, np.ndarray], sequence_X: np.ndarray) -> None:
    num_rows = len(sequence_X)
    if any(len(column) != num_rows for column in columns.values()):
        sizes = {name: len(column) for name, column in columns.items()}
        raise InvalidInput(f"{what} needs arrays of one length, got {sizes}")
    if (sequence_X[1:] <= sequence_X[:-1]).any():
        raise InvalidInput(f"{what} needs strictly increasing sequence numbers")


def _check_rows(
    what: str,
    images: Sequence[tuple[np.ndarray, np.ndarray]],
    answer_NA: np.ndarray,
    weight_N: np.ndarray,
    widths: tuple[int, int],
) -> None:
    for taste_NR, generic_NA in images:
        shapes = taste_NR.shape[1:], generic_NA.shape[1:], answer_NA.shape[1:]
        if shapes != (widths[:1], widths[1:], widths[1:]):
            raise InvalidInput(f"{what} have rows of {shapes}, the base model has {widths[0]} and {widths[1]}")
        if not (np.isfinite(taste_NR).all() and np.isfinite(generic_NA).all()):
            raise InvalidInput(f"{what} with taste or generic scores that are not finite")
    if not (np.isfinite(weight_N).all() and (weight_N >= 0).all()):
        raise InvalidInput(f"{what} with weights that are negative or not finite")


_RATED = tuple(field.name for field in fields(RatedSet))
_COMPARED = tuple(field.name for field in fields(ComparedSet))
_NONE = np.empty((0, 0), np.float32)
NO_COMPARISONS = ComparedSet.of(np.empty(0, np.int64), _NONE, _NONE, _NONE, _NONE, _NONE)
