"""Long logs: their evidence in directions that stay as they are while a log grows, so that old windows keep theirs.

A log of more than `LONG_LOG` answers is cut into blocks by the numbers of its events, and its directions are those of
the images that were rated first, up to a milestone: a number that grows by a quarter at a time. So between milestones
the evidence of a window depends on the answers in it alone, and on nothing that came later, not even where a later
answer replaces one of another window. All of it is a function of the log. What a process has measured it may keep.

Shape letters: N = ratings, C = comparisons, P = regressors, M = directions, B = blocks, W = windows, X = some rows.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Final

import numpy as np

from paaplus.gate import regressors
from paaplus.gate.blocks import block_starts
from paaplus.gate.eigenvectors import leading_directions
from paaplus.gate.evidence_memory import EvidenceMemory, KnownWindows
from paaplus.gate.window_products import NUM_BY_ROWS, BlockRows, BlockSums
from paaplus.records import ComparedSet
from paaplus.scoring.fingerprints import scrambled, word_sums
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

    An answer that is replaced or retracted leaves a gap, and the other blocks as they are. Where so many are gone that
    less than half of the answers is left, blocks are joined.
    """
    number_B = block_starts(int(ordered_X[-1]))
    place_B = np.searchsorted(ordered_X, number_B, side="right").tolist()
    starts = [place_B[-1]]
    for place, num in zip(place_B[-2::-1], np.diff(number_B)[::-1].tolist(), strict=True):
        if place < starts[-1] and (place == 0 or 2 * (starts[-1] - place) >= num):
            starts.append(place)
    return np.array(starts[::-1], np.int64)


class LongRatings:
    """One aspect's ratings of a long log, whose rows are worked out only where they are needed.

    Args:
        ratings: taste (N, R), generic scores (N,) and ratings (N,), in order.
        start_B: the first rating of every block, and the number of ratings; one more than blocks.
        first_N: the number of the first event on each rated image.
        taste_sum_N2: the sums of the images' numbers, see `fingerprints`; None: not at hand.
        num_directions: M at most.
        prior: what they are judged by.
        aspect: likewise.
        memory: what the process knows; None: nothing.
    """

    def __init__(
        self,
        ratings: tuple[np.ndarray, np.ndarray, np.ndarray],
        start_B: np.ndarray,
        first_N: np.ndarray,
        taste_sum_N2: np.ndarray | None,
        num_directions: int,
        prior: Prior,
        aspect: int,
        memory: EvidenceMemory | None,
    ) -> None:
        self._ratings, self._start_B, self._num_directions = ratings, start_B, num_directions
        self._prior, self._aspect = prior, aspect
        self._first_X = np.argsort(first_N, kind="stable")[: milestone(len(first_N), num_directions)]
        image_N2 = word_sums(ratings[:1]) if taste_sum_N2 is None else taste_sum_N2
        image_N2 = image_N2 + word_sums(ratings[1:2], 1)
        shaping_2 = scrambled(image_N2[self._first_X]).sum(axis=0)
        fingerprint_N2 = scrambled(image_N2 + word_sums(ratings[2:], 2))
        self._windows = KnownWindows(_basis(prior, aspect, shaping_2), fingerprint_N2, start_B, memory)

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
        return _directions(self._regressors(self._first_X)[0], self._prior, self._aspect, self._num_directions)

    @cached_property
    def _sums_B(self) -> list[BlockSums]:
        blocks = [slice(first, end) for first, end in pairwise(self._start_B.tolist())]
        known_B = self._windows.sums()
        return [known or BlockSums.of(*self._rows(block)) for known, block in zip(known_B, blocks, strict=True)]

    def _rows(self, which_N: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows (X, M) and columns (X, 3)."""
        design_XP, column_X3 = self._regressors(which_N)
        return design_XP @ self._direction_PM, column_X3

    def _regressors(self, which_N: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        taste_NR, generic_N, target_N = self._ratings
        mean_P = self._prior.mean(self._aspect)
        return regressors.of_ratings(taste_NR[which_N], generic_N[which_N], target_N[which_N], mean_P)


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
        self._is_whole = len(every) <= num_directions
        shaping = scrambled(word_sums(_images(self._first, aspect)))[: 0 if self._is_whole else None]
        shaping_2 = shaping.sum(axis=0, dtype=np.uint64)
        fingerprint_C2 = scrambled(word_sums([*_images(compared, aspect), compared.preference_CA[:, aspect]]))
        self._windows = KnownWindows(_basis(prior, aspect, shaping_2), fingerprint_C2, start_B, memory)

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


def _directions(design_XP: np.ndarray, prior: Prior, aspect: int, num: int) -> np.ndarray:
    """What takes regressors to rows in the `num` directions of the prior that have the most energy, shape (P, M)."""
    factor_PK = prior.coordinates_together(np.eye(design_XP.shape[1]), aspect)
    return factor_PK @ leading_directions(design_XP @ factor_PK, num)


def _basis(prior: Prior, aspect: int, shaping_2: np.ndarray) -> bytes:
    """Of a prior and of what the directions are made from. The prior's factor is told by random products with it."""
    mean_P = prior.mean(aspect)
    numbers = [prior.coordinates_together(_probe(len(mean_P)), aspect), mean_P, prior.noise_sd_A[aspect]]
    return b"".join([np.asarray(each, np.float64).tobytes() for each in numbers] + [shaping_2.tobytes()])


@lru_cache(16)
def _probe(num_regressors: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, num_regressors))


def _images(compared: ComparedSet, aspect: int) -> list[np.ndarray]:
    return [
        compared.first_taste_CR,
        compared.first_generic_CA[:, aspect],
        compared.second_taste_CR,
        compared.second_generic_CA[:, aspect],
    ]
