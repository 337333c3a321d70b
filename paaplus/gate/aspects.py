"""One aspect's feedback as the order evidence takes it: ratings as rows in blocks, and rows of comparisons.

Shape letters: N = ratings, C = comparisons, K = coordinates of the prior, M = leading directions, B = blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from paaplus.gate import regressors
from paaplus.gate.eigenvectors import in_leading_directions, leading_directions, some_eigenvectors
from paaplus.gate.evidence_memory import EvidenceMemory
from paaplus.gate.long_logs import LongPairs, LongRatings
from paaplus.gate.window_products import NUM_BY_ROWS, BlockRows
from paaplus.records import ComparedSet, RatedSet, is_like
from paaplus.scoring.middles import MIDDLE_SD
from paaplus.scoring.priors import Prior

NUM_DIRECTIONS: Final = 64
NUM_LONG_DIRECTIONS: Final = 48  # of a long log, whose windows are many: see decision 41
NUM_PAIR_DIRECTIONS: Final = 32


@dataclass(frozen=True, eq=False)
class LongLog:
    """What the evidence of a long log takes more.

    Attributes:
        first_N: the number of the first event on each rated image.
        compared: all latest comparisons, of which the evidence takes some of each block.
        taste_sum_N2: the sums of the rated images' numbers, see `fingerprints`; None: not at hand.
        memory: what the process knows; None: nothing.
    """

    first_N: np.ndarray
    compared: ComparedSet
    taste_sum_N2: np.ndarray | None = None
    memory: EvidenceMemory | None = None


@dataclass(frozen=True, eq=False)
class Feedback:
    """A user's feedback in blocks.

    Attributes:
        rated: the ratings.
        compared: the comparisons; likes have their middle at that of the scale.
        block_N: the block of every rating; blocks are numbered from 0.
        block_C: the block of every comparison, none before that of an earlier one.
        num_blocks: the number of blocks.
        prior: the taste prior that trainings start from, or the base model's own.
        long: None: the log is not long.
    """

    rated: RatedSet
    compared: ComparedSet
    block_N: np.ndarray
    block_C: np.ndarray
    num_blocks: int
    prior: Prior
    long: LongLog | None = None


@dataclass(frozen=True, eq=False)
class Pairs:
    """One aspect's comparisons in order: rows of differences, the middle of likes as the last direction, and answers.

    `mean_C`: differences of the generic scores. `long`: what is known of the evidence, if the log is long.
    """

    row_CM: np.ndarray
    mean_C: np.ndarray
    preference_C: np.ndarray
    block_C: np.ndarray
    long: LongPairs | None = None


def ratings_of(feedback: Feedback, aspect: int) -> BlockRows | LongRatings | None:
    """The ratings of one aspect; None: there are none."""
    rated, prior = feedback.rated, feedback.prior
    used_N = ~np.isnan(rated.target_NA[:, aspect])
    if not used_N.any():
        return None
    taste_NR = rated.taste_NR if used_N.all() else rated.taste_NR[used_N]
    ratings = taste_NR, rated.generic_NA[used_N, aspect], rated.target_NA[used_N, aspect]
    if feedback.long is not None:
        start_B = np.searchsorted(feedback.block_N[used_N], np.arange(feedback.num_blocks + 1))
        long = feedback.long
        taste_sum_N2 = long.taste_sum_N2[used_N] if long.taste_sum_N2 is not None else None
        return LongRatings(
            ratings, start_B, long.first_N[used_N], taste_sum_N2, NUM_LONG_DIRECTIONS, prior, aspect, long.memory
        )
    design_NP, column_N3 = regressors.of_ratings(*ratings, prior.mean(aspect))
    row_NK = prior.coordinates_together(design_NP, aspect)
    return _block_rows(row_NK, column_N3, feedback.block_N[used_N], feedback.num_blocks)


def pairs_of(feedback: Feedback, aspect: int) -> Pairs | None:
    """The comparisons of one aspect; None: there are none."""
    prior, used_C = feedback.prior, _answered(feedback.compared, aspect)
    if not used_C.any():
        return None
    compared, block_C = feedback.compared.select(used_C), np.asarray(feedback.block_C[used_C], np.int64)
    difference_CP, mean_C = regressors.of_pairs(compared, prior, aspect)
    preference_C = compared.preference_CA[:, aspect].astype(np.float64)
    lever_C1 = np.where(is_like(preference_C), -MIDDLE_SD, 0.0)[:, None]
    if feedback.long is None:
        row_CK = prior.coordinates_together(difference_CP, aspect)
        row_CM = row_CK @ leading_directions(row_CK, NUM_PAIR_DIRECTIONS)
        return Pairs(np.column_stack([row_CM, lever_C1] if lever_C1.any() else [row_CM]), mean_C, preference_C, block_C)
    start_B = np.searchsorted(block_C, np.arange(feedback.num_blocks + 1))
    every = feedback.long.compared.select(_answered(feedback.long.compared, aspect))
    long = LongPairs(compared, start_B, every, NUM_PAIR_DIRECTIONS, prior, aspect, feedback.long.memory)
    row_CM = np.column_stack([difference_CP @ long.direction_PM, lever_C1])
    return Pairs(row_CM, mean_C, preference_C, block_C, long)


def _answered(compared: ComparedSet, aspect: int) -> np.ndarray:
    return ~np.isnan(compared.preference_CA[:, aspect]) if len(compared) else np.zeros(0, np.bool_)


def _block_rows(row_NK: np.ndarray, column_N3: np.ndarray, block_N: np.ndarray, num_blocks: int) -> BlockRows:
    """Ratings in the directions with the most energy. Of few ratings the products are enough: without the others'."""
    num_rows, num_coordinates = row_NK.shape
    num_dropped = num_rows - NUM_DIRECTIONS
    if not 0 < num_dropped <= num_rows // 2 or num_rows > min(NUM_BY_ROWS, num_coordinates - 1):
        row_NM = in_leading_directions(row_NK, NUM_DIRECTIONS)
        return BlockRows.of(row_NM, column_N3, block_N, num_blocks)
    kernel_NN = row_NK @ row_NK.T
    value_M, vector_NM = some_eigenvectors(kernel_NN, slice(num_dropped))
    kernel_NN -= (vector_NM * value_M) @ vector_NM.T
    return BlockRows.of(row_NK, column_N3, block_N, num_blocks, kernel_NN)
