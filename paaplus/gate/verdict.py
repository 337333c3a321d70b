"""The verdict on all feedback of a user: which of it trains, and whether what it teaches may be served.

Looked at anew before every training, over all feedback of the user that nobody excluded by hand: held-out
feedback and quarantined feedback too. Nothing starts again at a promotion.

Shape letters: N = ratings, C = comparisons, B = blocks, A = aspects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from paaplus.configs import GateConfig
from paaplus.gate.blocks import BLOCK_SIZE, block_starts
from paaplus.gate.order_evidence import OrderEvidence
from paaplus.gate.windows import PathPrior, best_window
from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring.priors import Prior

_MAX_COMPARISONS = 20  # of one block, the first: a coarse block need not be read as a whole

EvidenceCache = dict[tuple[int, int], float]  # by first and one past the last answer of a window


@dataclass(frozen=True, slots=True)
class FeedbackVerdict:
    """What all feedback of a user says.

    `first` and `last` are the sequence numbers between which feedback trains, both included; None: no bound. `score` is
    the log odds that the feedback in the window follows an order; a first version needs `needed`, a version that
    replaces another needs 0.
    """

    num_answers: int
    num_in_window: int
    first: int | None
    last: int | None
    score: float
    needed: float
    turned: bool = False  # the window begins where the user's taste turned
    all_alike: bool = False  # every answer in the window has the same value

    @property
    def goes_live(self) -> bool:
        """Whether a first version may go live."""
        return self.score >= self.needed

    @property
    def stays_live(self) -> bool:
        """Whether a version that is live may stay, or be replaced by one that continues it."""
        return self.score >= 0.0

    def may_serve(self, is_live: bool) -> bool:
        """Whether a version may be live after this verdict, given whether one is live now."""
        return self.stays_live if is_live else self.goes_live

    def to_dict(self) -> dict[str, Any]:
        return {
            "num_answers": self.num_answers,
            "num_in_window": self.num_in_window,
            "first_sequence": self.first,
            "last_sequence": self.last,
            "log_odds": self.score,
            "log_odds_needed": self.needed,
            "turned": self.turned,
            "all_alike": self.all_alike,
        }

    def in_window(self, sequence: int) -> bool:
        """Whether an event may train."""
        return (self.first is None or sequence >= self.first) and (self.last is None or sequence <= self.last)


def feedback_verdict(
    rated: RatedSet, compared: ComparedSet, prior: Prior, config: GateConfig, cache: EvidenceCache | None = None
) -> FeedbackVerdict:
    """The verdict on a user's latest ratings and comparisons.

    Args:
        rated: all that count, the held-out ones too.
        compared: likewise.
        prior: the taste prior that trainings start from, or the base model's own.
        config: of the gate.
        cache: evidence of windows that earlier calls with the same feedback, and less of it, have measured.
    """
    sequence_X = np.concatenate([rated.sequence_N, compared.sequence_C])
    order_X = np.argsort(sequence_X, kind="stable")
    needed = math.log(config.min_order_odds)
    start_B = block_starts(len(sequence_X))
    num_blocks = len(start_B) - 1
    if not num_blocks:
        return FeedbackVerdict(0, 0, None, None, math.log(PathPrior().starts_at_once), needed)
    place_X = np.empty(len(sequence_X), np.int64)
    place_X[order_X] = np.arange(len(sequence_X))
    block_X = np.searchsorted(start_B, place_X, side="right") - 1
    num_ratings = len(rated)
    windows, window_W2 = _windows(num_blocks)
    known = {} if cache is None else cache
    keys = list(map(tuple, start_B[window_W2].tolist()))
    unknown = [i for i, key in enumerate(keys) if key not in known]
    if unknown:
        block_N, block_C = block_X[:num_ratings], block_X[num_ratings:]
        kept_C = _first_of_each(block_C)
        evidence = OrderEvidence(rated, compared.select(kept_C), block_N, block_C[kept_C], num_blocks, prior)
        found = evidence.of_windows(window_W2[unknown])
        known.update(zip([keys[i] for i in unknown], found.tolist(), strict=True))
    evidence_of = {window: known[key] for window, key in zip(windows, keys, strict=True)}
    best = best_window(evidence_of, start_B / BLOCK_SIZE, PathPrior())
    assert best is not None, "blocks without a window"
    in_window_X = (block_X >= best.start) & (block_X < best.end)
    ordered = sequence_X[order_X]
    return FeedbackVerdict(
        num_answers=len(sequence_X),
        num_in_window=int(in_window_X.sum()),
        first=int(ordered[start_B[best.start]]) if best.start else None,
        last=int(ordered[start_B[best.end] - 1]) if best.end < num_blocks else None,
        score=best.score,
        needed=needed,
        turned=best.turned,
        all_alike=_all_alike(rated.target_NA[in_window_X[:num_ratings]], compared, in_window_X[num_ratings:]),
    )


@lru_cache(64)
def _windows(num_blocks: int) -> tuple[list[tuple[int, int]], np.ndarray]:
    """All windows of so many blocks, also as an array of shape (W, 2)."""
    windows = [(start, end) for start in range(num_blocks) for end in range(start + 1, num_blocks + 1)]
    return windows, np.array(windows)


def _first_of_each(block_C: np.ndarray) -> np.ndarray:
    """Mask of the first comparisons of every block, in order of sequence."""
    rank_C = np.arange(len(block_C)) - np.searchsorted(block_C, block_C, side="left")
    return rank_C < _MAX_COMPARISONS


def _all_alike(target_NA: np.ndarray, compared: ComparedSet, in_window_C: np.ndarray) -> bool:
    """Whether all values are the same, in every aspect, for ratings and for comparisons."""
    columns = [*target_NA.T, *(compared.preference_CA[in_window_C].T if len(compared) else ())]
    given = [column[~np.isnan(column)] for column in columns]
    return len(target_NA) + int(in_window_C.sum()) > 1 and all((values == values[:1]).all() for values in given)
