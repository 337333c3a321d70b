"""Long logs: their evidence in directions that stay as they are while a log grows, so that old windows keep theirs.

A log of more than `LONG_LOG` answers is cut into blocks by the numbers of its events, and its directions are those of
the images that were rated first, up to a milestone: a number that grows by a quarter at a time. So between milestones
the evidence of a window depends on the answers in it alone, and on nothing that came later, not even where a later
answer replaces one of another window. All of it is a function of the log. What a process has measured it may keep.

Shape letters: N = ratings, C = comparisons, P = regressors, M = directions, B = blocks, W = windows, X = some rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Final

import numpy as np

from paaplus.gate import regressors
from paaplus.gate.blocks import BLOCK_SIZE, block_starts
from paaplus.gate.eigenvectors import leading_directions
from paaplus.gate.evidence_memory import EvidenceMemory, KnownWindows, content_before, digest
from paaplus.gate.window_products import NUM_BY_ROWS, BlockRows, BlockSums
from paaplus.records import ComparedSet
from paaplus.scoring.priors import Prior

LONG_LOG: Final = 256  # answers
_GROWTH: Final = 1.25  # of a milestone to the next


def milestone(num: int, first: int) -> int:
    """The last milestone that a number has reached; up to the first one, the number itself."""
    reached = first
    while int(reached * _GROWTH) <= num:
        reached = int(reached * _GROWTH)
    return min(reached, num)


def starts_by_number(ordered_X: np.ndarray) -> np.ndarray:
    """As `block_starts`, of answers with these sequence numbers, in order, but cut at fixed numbers.

    An answer that is replaced or retracted leaves a gap, and the other blocks as they are.
    """
    return np.unique(np.searchsorted(ordered_X, block_starts(int(ordered_X[-1])), side="right"))


class LongRatings:
    """One aspect's ratings of a long log, whose rows are worked out only where they are needed.

    Args:
        ratings: taste (N, R), generic scores (N,) and ratings (N,), in order.
        sequence_N: the number of each.
        start_B: the first rating of every block, and the number of ratings; one more than blocks.
        first_N: the number of the first event on each rated image.
        num_directions: M at most.
        prior: what they are judged by.
        aspect: likewise.
        memory: what the process knows; None: nothing.
    """

    def __init__(
        self,
        ratings: tuple[np.ndarray, np.ndarray, np.ndarray],
        sequence_N: np.ndarray,
        start_B: np.ndarray,
        first_N: np.ndarray,
        num_directions: int,
        prior: Prior,
        aspect: int,
        memory: EvidenceMemory | None,
    ) -> None:
        self._ratings, self._start_B, self._num_directions = ratings, start_B, num_directions
        self._prior, self._aspect = prior, aspect
        self._first_X = np.argsort(first_N, kind="stable")[: milestone(len(first_N), num_directions)]
        basis = digest([*_described(prior, aspect), *(column_N[self._first_X] for column_N in ratings[:2])])
        self._windows = KnownWindows(basis, content_before(ratings, _cells(sequence_N), start_B), memory)

    def unknown(self, window_W2: np.ndarray) -> np.ndarray:
        """Mask of the windows whose evidence is not known."""
        return self._windows.unknown(window_W2)

    def block_rows(self, window_W2: np.ndarray) -> BlockRows:
        """What the evidence of these windows needs."""
        num_rows, start_B = self._start_B[-1], self._start_B
        row_NM, column_N3 = np.zeros((num_rows, self._direction_PM.shape[1])), np.zeros((num_rows, 3))
        needed_N = np.zeros(num_rows, np.bool_)
        for start, end in start_B[window_W2].tolist():
            if end - start <= NUM_BY_ROWS:
                needed_N[start:end] = True
        row_NM[needed_N], column_N3[needed_N] = self._rows(needed_N)
        return BlockRows(row_NM, column_N3, start_B, sums_B=self._sums_B)

    def with_known(self, window_W2: np.ndarray, measured_X: np.ndarray) -> np.ndarray:
        """The evidence of all windows, given that of those that were not known, which is known from now on."""
        return self._windows.with_known(window_W2, measured_X, self._direction_PM, self._sums_B)

    @cached_property
    def _direction_PM(self) -> np.ndarray:
        if self._windows.known is not None:
            return self._windows.known.direction_PM
        design_XP, _ = regressors.of_ratings(
            *(column_N[self._first_X] for column_N in self._ratings), self._prior.mean(self._aspect)
        )
        return _directions(design_XP, self._prior, self._aspect, self._num_directions)

    @cached_property
    def _sums_B(self) -> list[BlockSums]:
        blocks = [slice(first, end) for first, end in pairwise(self._start_B.tolist())]
        known_B = self._windows.sums()
        return [known or BlockSums.of(*self._rows(block)) for known, block in zip(known_B, blocks, strict=True)]

    def _rows(self, which_N: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows (X, M) and columns (X, 3)."""
        design_XP, column_X3 = regressors.of_ratings(
            *(column_N[which_N] for column_N in self._ratings), self._prior.mean(self._aspect)
        )
        return design_XP @ self._direction_PM, column_X3


class LongPairs:
    """One aspect's comparisons of a long log, some of each block.

    Args:
        compared: of which each answers the aspect.
        start_B: the first one of every block, and their number; one more than blocks.
        every: all latest comparisons of the log that answer the aspect.
        num_directions: M at most.
        prior: what they are judged by.
        aspect: likewise.
        memory: what the process knows; None: nothing.
    """

    def __init__(
        self,
        compared: ComparedSet,
        start_B: np.ndarray,
        every: ComparedSet,
        num_directions: int,
        prior: Prior,
        aspect: int,
        memory: EvidenceMemory | None,
    ) -> None:
        self._prior, self._aspect, self._num_directions = prior, aspect, num_directions
        self._first = every.select(np.arange(milestone(len(every), num_directions)))
        # all directions of few comparisons are taken, so that evidence does not depend on which they are
        shaping = _images(self._first, aspect) if len(every) > num_directions else []
        basis = digest([*_described(prior, aspect), *shaping])
        columns = [*_images(compared, aspect), compared.preference_CA[:, aspect]]
        before_B4 = content_before(columns, _cells(compared.sequence_C), start_B)
        self._windows = KnownWindows(basis, before_B4, memory)
        self._is_whole = len(every) <= num_directions

    def unknown(self, window_W2: np.ndarray) -> np.ndarray:
        """Mask of the windows whose evidence is not known."""
        return self._windows.unknown(window_W2)

    def with_known(self, window_W2: np.ndarray, measured_X: np.ndarray) -> np.ndarray:
        """The evidence of all windows, given that of those that were not known, which is known from now on."""
        return self._windows.with_known(window_W2, measured_X, self.direction_PM)

    @cached_property
    def direction_PM(self) -> np.ndarray:
        """What takes regressors to rows."""
        if self._windows.known is not None and not self._is_whole:
            return self._windows.known.direction_PM
        difference_XP, _ = regressors.of_pairs(self._first, self._prior, self._aspect)
        return _directions(difference_XP, self._prior, self._aspect, self._num_directions)


def _cells(sequence_X: np.ndarray) -> np.ndarray:
    """The cell of each answer: blocks begin with one."""
    return (sequence_X - 1) // BLOCK_SIZE


def _directions(design_XP: np.ndarray, prior: Prior, aspect: int, num: int) -> np.ndarray:
    """What takes regressors to rows in the `num` directions of the prior that have the most energy, shape (P, M)."""
    factor_PK = prior.coordinates_together(np.eye(design_XP.shape[1]), aspect)
    return factor_PK @ leading_directions(design_XP @ factor_PK, num)


def _described(prior: Prior, aspect: int) -> list[np.ndarray]:
    """All numbers of a prior that the evidence on an aspect depends on."""
    mean_P = prior.mean(aspect)
    return [prior.coordinates_together(np.eye(len(mean_P)), aspect), mean_P, prior.noise_sd_A[aspect : aspect + 1]]


def _images(compared: ComparedSet, aspect: int) -> Sequence[np.ndarray]:
    return [
        compared.first_taste_CR,
        compared.first_generic_CA[:, aspect],
        compared.second_taste_CR,
        compared.second_generic_CA[:, aspect],
    ]
