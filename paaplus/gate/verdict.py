"""The verdict on all feedback of a user: which of it trains, and whether what it teaches may be served.

Looked at anew before every training, over all feedback of the user that nobody excluded by hand: held-out
feedback and quarantined feedback too. Nothing starts again at a promotion.

Shape letters: N = ratings, C = comparisons, B = blocks, A = aspects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from paaplus.configs import GateConfig
from paaplus.gate.aspects import LongLog
from paaplus.gate.blocks import BLOCK_SIZE, block_starts
from paaplus.gate.evidence_memory import EvidenceMemory
from paaplus.gate.long_logs import LONG_LOG, starts_by_number
from paaplus.gate.order_evidence import OrderEvidence, evidence_together
from paaplus.gate.windows import PathPrior, Window, best_windows
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
    num_alike: int = 0  # answers of the same value: all of them, or all in the window; 0: those in the window differ

    @property
    def all_alike(self) -> bool:
        """Whether every answer in the window has the same value."""
        return self.num_alike > 0

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


@dataclass(frozen=True, eq=False)
class JudgedFeedback:
    """All feedback of one user that a verdict is on.

    Attributes:
        rated: the latest ratings that count, the held-out ones too.
        compared: the latest comparisons and likes, likewise.
        prior: the taste prior that trainings start from, or the base model's own.
        config: of the gate.
        cache: evidence of windows that earlier verdicts on the same feedback, and less of it, have measured.
        first_N: the number of the first event on each rated image that counts; None: that of its latest rating.
        taste_sum_N2: the sums of the rated images' numbers, see `fingerprints`; None: not at hand.
        memory: the evidence of long logs that the process knows; None: nothing.
    """

    rated: RatedSet
    compared: ComparedSet
    prior: Prior
    config: GateConfig
    cache: EvidenceCache | None = None
    first_N: np.ndarray | None = None
    taste_sum_N2: np.ndarray | None = None
    memory: EvidenceMemory | None = None

    @cached_property
    def sequence_X(self) -> np.ndarray:
        return np.concatenate([self.rated.sequence_N, self.compared.sequence_C])

    @cached_property
    def ordered_X(self) -> np.ndarray:
        """All sequence numbers in order."""
        return np.sort(self.sequence_X)

    @cached_property
    def start_B(self) -> np.ndarray:
        """Of the blocks, see `block_starts`; those of a long log are cut by the numbers of events."""
        return starts_by_number(self.ordered_X) if self.is_long else block_starts(len(self.sequence_X))

    @cached_property
    def block_X(self) -> np.ndarray:
        """The block of each answer; ratings first."""
        return np.searchsorted(self.start_B, np.searchsorted(self.ordered_X, self.sequence_X), side="right") - 1

    def keys_of(self, window_W2: np.ndarray) -> list[tuple[int, int]]:
        """Of windows in a cache."""
        return [(start, end) for start, end in self.start_B[window_W2].tolist()]

    def order_evidence(self) -> OrderEvidence:
        num_ratings = len(self.rated)
        block_N, block_C = self.block_X[:num_ratings], self.block_X[num_ratings:]
        kept_C = _first_of_each(block_C)
        compared = self.compared.select(kept_C) if not kept_C.all() else self.compared
        num_blocks, long = len(self.start_B) - 1, self._long_log if self.is_long else None
        return OrderEvidence(self.rated, compared, block_N, block_C[kept_C], num_blocks, self.prior, long)

    @property
    def is_long(self) -> bool:
        """Whether it is judged as a long log, see `long_logs`."""
        return len(self.sequence_X) > LONG_LOG

    @property
    def _long_log(self) -> LongLog:
        first_N = self.rated.sequence_N if self.first_N is None else self.first_N
        return LongLog(first_N, self.compared, self.taste_sum_N2, self.memory)


def feedback_verdict(
    rated: RatedSet, compared: ComparedSet, prior: Prior, config: GateConfig, cache: EvidenceCache | None = None
) -> FeedbackVerdict:
    """The verdict on one user's latest ratings and comparisons; for the arguments see `JudgedFeedback`."""
    return feedback_verdicts([JudgedFeedback(rated, compared, prior, config, cache)])[0]


def feedback_verdicts(users: Sequence[JudgedFeedback]) -> list[FeedbackVerdict]:
    """The verdicts on many users' feedback. Each is as that of this user alone, up to rounding."""
    by_num_blocks: dict[int, list[int]] = {}
    for place, user in enumerate(users):
        by_num_blocks.setdefault(len(user.start_B) - 1, []).append(place)
    evidence_of = _evidence_of_all(users)
    verdicts: dict[int, FeedbackVerdict] = {}
    for num_blocks, places in by_num_blocks.items():
        if not num_blocks:
            verdicts |= {place: _without_answers(users[place]) for place in places}
            continue
        window_W2 = _windows(num_blocks)
        evidence_USE = np.full((len(places), num_blocks, num_blocks + 1), -math.inf)
        evidence_USE[:, window_W2[:, 0], window_W2[:, 1]] = [evidence_of[place] for place in places]
        position_UB = np.stack([users[place].start_B for place in places]) / BLOCK_SIZE
        best = best_windows(evidence_USE, position_UB, PathPrior())
        verdicts |= {place: _verdict(users[place], window) for place, window in zip(places, best, strict=True)}
    return [verdicts[place] for place in range(len(users))]


def _evidence_of_all(users: Sequence[JudgedFeedback]) -> list[np.ndarray]:
    """The evidence of all windows of each user; what a cache has is not measured again."""
    asked_of: dict[int, np.ndarray] = {}
    for place, user in enumerate(users):
        window_W2 = _windows(len(user.start_B) - 1)
        if user.cache is not None:
            window_W2 = window_W2[[key not in user.cache for key in user.keys_of(window_W2)]]
        if len(window_W2):
            asked_of[place] = window_W2
    measured = evidence_together([(users[place].order_evidence(), asked_of[place]) for place in asked_of])
    found_of = dict(zip(asked_of, measured, strict=True))
    return [_with_cached(user, asked_of.get(place), found_of.get(place)) for place, user in enumerate(users)]


def _with_cached(user: JudgedFeedback, window_W2: np.ndarray | None, measured_W: np.ndarray | None) -> np.ndarray:
    """The evidence of all windows of a user, of which some were measured now; the cache has them from now on."""
    if user.cache is None:
        return np.zeros(0) if measured_W is None else measured_W
    if window_W2 is not None and measured_W is not None:
        user.cache.update(zip(user.keys_of(window_W2), measured_W.tolist(), strict=True))
    return np.array([user.cache[key] for key in user.keys_of(_windows(len(user.start_B) - 1))])


def _without_answers(user: JudgedFeedback) -> FeedbackVerdict:
    return FeedbackVerdict(0, 0, None, None, math.log(PathPrior().starts_at_once), math.log(user.config.min_order_odds))


def _verdict(user: JudgedFeedback, best: Window) -> FeedbackVerdict:
    rated, compared, start_B = user.rated, user.compared, user.start_B
    in_window_X = (user.block_X >= best.start) & (user.block_X < best.end)
    in_window_N, in_window_C = in_window_X[: len(rated)], in_window_X[len(rated) :]
    return FeedbackVerdict(
        num_answers=len(in_window_X),
        num_in_window=int(in_window_X.sum()),
        first=int(user.ordered_X[start_B[best.start]]) if best.start else None,
        last=int(user.ordered_X[start_B[best.end] - 1]) if best.end < len(start_B) - 1 else None,
        score=best.score,
        needed=math.log(user.config.min_order_odds),
        turned=best.turned,
        num_alike=_num_alike(rated.target_NA, compared, in_window_N, in_window_C),
    )


@lru_cache(64)
def _windows(num_blocks: int) -> np.ndarray:
    """All windows of so many blocks, shape (W, 2)."""
    windows = [(start, end) for start in range(num_blocks) for end in range(start + 1, num_blocks + 1)]
    return np.array(windows, np.int64).reshape(-1, 2)


def _first_of_each(block_C: np.ndarray) -> np.ndarray:
    """Mask of the first comparisons of every block, in order of sequence."""
    rank_C = np.arange(len(block_C)) - np.searchsorted(block_C, block_C, side="left")
    return rank_C < _MAX_COMPARISONS


def _num_alike(target_NA: np.ndarray, compared: ComparedSet, in_window_N: np.ndarray, in_window_C: np.ndarray) -> int:
    """How many answers are alike: all of them, or else those in the window; 0: those in the window differ."""
    if _all_alike(target_NA, compared, np.ones_like(in_window_C)):
        return len(in_window_N) + len(in_window_C)
    if _all_alike(target_NA[in_window_N], compared, in_window_C):
        return int(in_window_N.sum()) + int(in_window_C.sum())
    return 0


def _all_alike(target_NA: np.ndarray, compared: ComparedSet, in_window_C: np.ndarray) -> bool:
    """Whether all values are the same, in every aspect, for ratings and for comparisons."""
    columns = [*target_NA.T, *(compared.preference_CA[in_window_C].T if len(compared) else ())]
    given = [column[~np.isnan(column)] for column in columns]
    return len(target_NA) + int(in_window_C.sum()) > 1 and all((values == values[:1]).all() for values in given)
