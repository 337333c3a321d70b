"""One user's feedback as rows for training, and the parts of it that every step draws from.

Shape letters: N = rows, V = images of the rows, R = taste space dim, A = aspects.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from paaplus.records import ComparedSet, RatedSet


@dataclass(frozen=True, eq=False)
class Rows:
    """Ratings and comparisons in a given order; NaN where there is no answer."""

    taste_VR: np.ndarray  # of the image of every row, then of the second images of comparisons
    generic_VA: np.ndarray
    second_N: np.ndarray  # which image a comparison's second one is; -1 for a rating
    target_NA: np.ndarray  # a rating's score, or a comparison's preference
    weight_N: np.ndarray
    sequence_N: np.ndarray

    def __len__(self) -> int:
        return len(self.second_N)

    @property
    def num_compared(self) -> int:
        return len(self.taste_VR) - len(self)

    def take(self, index_N: np.ndarray) -> Self:
        """Some rows, in this order."""
        is_pair_N = self.second_N[index_N] >= 0
        images = np.concatenate([index_N, self.second_N[index_N][is_pair_N]])
        answers = self.target_NA[index_N], self.weight_N[index_N], self.sequence_N[index_N]
        second_N = np.where(is_pair_N, len(index_N) + np.cumsum(is_pair_N) - 1, -1)
        return type(self)(self.taste_VR[images], self.generic_VA[images], second_N, *answers)

    def images(self) -> Self:
        """Every image as a row of its own, without an answer."""
        nothing_VA = np.full(self.generic_VA.shape, np.nan, np.float32)
        one_V, none_V = np.ones(len(nothing_VA), np.float32), np.full(len(nothing_VA), -1)
        return type(self)(self.taste_VR, self.generic_VA, none_V, nothing_VA, one_V, none_V)


def rows_of(rated: RatedSet, compared: ComparedSet) -> Rows:
    """Ratings and comparisons in order of sequence."""
    none_N, total = np.full(len(rated), -1), len(rated) + len(compared)
    if not len(compared):
        return Rows(rated.taste_NR, rated.generic_NA, none_N, rated.target_NA, rated.weight_N, rated.sequence_N)
    both = Rows(
        np.concatenate([rated.taste_NR, compared.first_taste_CR, compared.second_taste_CR]),
        np.concatenate([rated.generic_NA, compared.first_generic_CA, compared.second_generic_CA]),
        np.concatenate([none_N, total + np.arange(len(compared))]),
        np.concatenate([rated.target_NA, compared.preference_CA]),
        np.concatenate([rated.weight_N, compared.weight_C]),
        np.concatenate([rated.sequence_N, compared.sequence_C]),
    )
    return both.take(np.argsort(both.sequence_N, kind="stable"))


def selected(rated: RatedSet, compared: ComparedSet, sequence_K: np.ndarray) -> Rows:
    """The rows with these sequence numbers, in order of sequence, as far as they are there."""
    if len(compared):
        compared = compared.select(np.isin(compared.sequence_C, sequence_K))
    return rows_of(rated.select(np.isin(rated.sequence_N, sequence_K)), compared)


@dataclass(frozen=True, eq=False)
class Part:
    """Rows that every step takes some of: `batch_size` at random; None: all, in order.

    `soft_weight` is that of soft targets: every image of a row has a score of its own to keep, `soft_VA`, or one that
    a plugin gives (`Stack.teach`); the answers of the rows do not count then. None: the rows' own feedback.
    """

    rows: Rows
    batch_size: int | None
    soft_weight: float | None = None
    soft_VA: np.ndarray | None = None

    @property
    def num_drawn(self) -> int:
        return len(self.rows) if self.batch_size is None else min(self.batch_size, len(self.rows))

    @property
    def share(self) -> float:
        """How many rows each that is taken stands for."""
        return len(self.rows) / self.num_drawn

    @property
    def widths(self) -> tuple[int, int]:
        """Columns that its rows take in a step: of ratings or soft targets, and of comparisons."""
        compared = self.rows.num_compared
        if self.soft_weight is not None:
            return self.num_drawn * (2 if compared else 1), 0
        return 0 if compared == len(self.rows) else self.num_drawn, self.num_drawn if compared else 0
