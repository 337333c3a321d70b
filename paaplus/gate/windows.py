"""The window of a user's feedback that a training should read, and whether what it teaches may be served.

A window is a run of consecutive blocks. Its score is its order evidence plus the log of its prior probability. Most
lives start with an order that lasts; few start later, end early, or turn to another taste. The best window trains. It
goes live if its score reaches `live`, stays live while the score is not below 0, and is retired otherwise. Feedback
outside the window is quarantined.

The prior probabilities of windows without turns sum to at most 1, so the summed evidence is a martingale under "no
order", and the best score exceeds log c at any time with a probability of 1/c at most: looks do not add up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    quarantine_nats: float = 1.0  # taken from a window that excludes the newest block
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
        return math.log(self.ended) + (blocks_after - 1.0) * math.log(self.stays_ended) - self.quarantine_nats


@dataclass(frozen=True, slots=True)
class Window:
    """Blocks `[start, end)` with their score; `evidence` is without the prior. `turned`: an earlier order ended."""

    start: int
    end: int
    score: float
    evidence: float
    turned: bool = False


def best_window(evidence_of: dict[tuple[int, int], float], position_B: np.ndarray, prior: PathPrior) -> Window | None:
    """The best window of all blocks; None without blocks.

    Args:
        evidence_of: the order evidence of every window `(start, end)`.
        position_B: where each block starts and the last one ends, in blocks of the usual size; one more than blocks.
        prior: of windows.
    """
    num_blocks = len(position_B) - 1
    best: Window | None = None
    before = [0.0] * (num_blocks + 1)  # score of the best window of the blocks before each one, 0 at least
    for end in range(1, num_blocks + 1):
        best = None
        for start in range(end):
            for stop in range(start + 1, end + 1):
                evidence = evidence_of[start, stop]
                lasting = prior.log_lasting(float(position_B[stop] - position_B[start]))
                score = evidence + prior.log_start(float(position_B[start])) + lasting
                score += prior.log_ended(float(position_B[end] - position_B[stop]))
                turned = False
                if stop == end and start > 0 and evidence >= prior.turn_evidence:
                    after_turn = evidence + before[start] + math.log(prior.turns) + lasting
                    turned, score = after_turn > score, max(after_turn, score)
                if best is None or score > best.score:
                    best = Window(start, stop, score, evidence, turned)
        assert best is not None, "blocks without a window"
        before[end] = max(best.score, 0.0)
    return best
