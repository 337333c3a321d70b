"""The window of a user's feedback that a training should read, and whether what it teaches may be served.

A window is a run of consecutive blocks. Its score is its order evidence plus the log of its prior probability. Most
lives start with an order that lasts; few start later, end early, or turn to another taste. A version goes live if the
best score reaches a limit, stays live while the best score is not below 0, and is retired otherwise.

The prior probabilities of windows without turns sum to 1 at most, so the summed evidence is a martingale under "no
order", and the best score exceeds log c at any time with a probability of 1/c at most: looks do not add up. Turns add
`turns` a block.

Which window trains is a choice, not a test: rubbish that trains does more harm than honest feedback that waits. So a
window that leaves out the newest blocks is preferred by `caution` nats. Feedback outside the window is quarantined.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class PathPrior:
    """Prior probabilities of windows. Lengths count in blocks."""

    starts_at_once: float = 0.8
    starts_later: float = 0.2 * 0.05
    waits: float = 0.95  # another block before the start
    lasts: float = 0.9  # another block in the window
    ended: float = 0.1
    stays_ended: float = 0.95
    turns: float = 0.02
    caution: float = 2.0  # nats by which a window without the newest block is preferred
    turn_evidence: float = 5.0  # least own evidence of a turn

    def log_start(self, blocks_before: float) -> float:
        if blocks_before <= 0:
            return math.log(self.starts_at_once)
        return math.log(self.starts_later) + (blocks_before - 1.0) * math.log(self.waits)

    def log_lasting(self, length: float) -> float:
        return max(length - 1.0, 0.0) * math.log(self.lasts)

    def log_ended(self, blocks_after: float) -> float:
        if blocks_after <= 0:
            return 0.0
        return math.log(self.ended) + max(blocks_after - 1.0, 0.0) * math.log(self.stays_ended)


@dataclass(frozen=True, slots=True)
class Window:
    """The chosen blocks `[start, end)`. `score` is the best of all windows. `turned`: an earlier order ended."""

    start: int
    end: int
    score: float
    turned: bool = False


def best_window(evidence_of: dict[tuple[int, int], float], position_B: np.ndarray, prior: PathPrior) -> Window | None:
    """The best window of all blocks; None without blocks.

    Args:
        evidence_of: the order evidence of every window `(start, end)`.
        position_B: where each block starts and the last one ends, in blocks of the usual size; one more than blocks.
        prior: of windows.
    """
    num_blocks = len(position_B) - 1
    chosen: Window | None = None
    before = [0.0] * (num_blocks + 1)  # best score of the blocks before each one, 0 at least
    for end in range(1, num_blocks + 1):
        best_score, best_preference, chosen = -math.inf, -math.inf, None
        for start in range(end):
            log_start = prior.log_start(float(position_B[start]))
            for stop in range(start + 1, end + 1):
                evidence = evidence_of[start, stop]
                lasting = prior.log_lasting(float(position_B[stop] - position_B[start]))
                score = evidence + log_start + lasting + prior.log_ended(float(position_B[end] - position_B[stop]))
                turned = False
                if stop == end and start > 0 and evidence >= prior.turn_evidence:
                    after_turn = evidence + before[start] + math.log(prior.turns) + lasting
                    turned, score = before[start] > 0.0 and after_turn > score, max(after_turn, score)
                best_score = max(best_score, score)
                preference = score + (prior.caution if stop < end else 0.0)
                if preference > best_preference:
                    best_preference, chosen = preference, Window(start, stop, score, turned)
        assert chosen is not None, "blocks without a window"
        chosen = replace(chosen, score=best_score)
        before[end] = max(best_score, 0.0)
    return chosen
