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
    caution: float = 2.0  # nats by which a window without the newest block is preferred
    turn_evidence: float = 5.0  # least own evidence of a turn

    def log_start(self, blocks_before: float) -> float:
        if blocks_before <= 0:
            return math.log(self.starts_at_once)
        return math.log(self.starts_later) + (blocks_before - 1.0) * math.log(self.waits)

    def log_lasting(self, length: np.ndarray | float) -> np.ndarray:
        return np.maximum(np.asarray(length) - 1.0, 0.0) * math.log(self.lasts)

    def log_ended(self, blocks_after: np.ndarray | float) -> np.ndarray:
        after = np.asarray(blocks_after)
        ended = math.log(self.ended) + np.maximum(after - 1.0, 0.0) * math.log(self.stays_ended)
        return np.where(after > 0.0, ended, 0.0)


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
    if not num_blocks:
        return None
    evidence_SE = np.full((num_blocks, num_blocks + 1), -math.inf)
    for (start, stop), value in evidence_of.items():
        evidence_SE[start, stop] = value
    length_EE = position_B[None, :] - position_B[:, None]
    lasting_SE, ended_EE = prior.log_lasting(length_EE[:-1]), prior.log_ended(length_EE)
    log_start_S = np.array([prior.log_start(position) for position in position_B[:-1].tolist()])
    log_window_SE = evidence_SE + log_start_S[:, None] + lasting_SE
    before = np.zeros(num_blocks + 1)  # best score of the blocks before each one, 0 at least
    score_SE, turned_S, best_score = log_window_SE, np.zeros(0, np.bool_), -math.inf
    for end in range(1, num_blocks + 1):
        score_SE = log_window_SE[:end, : end + 1] + ended_EE[: end + 1, end]
        now_S = evidence_SE[:end, end]  # windows that last until now may begin with a turn
        after_turn_S = now_S + before[:end] + math.log(prior.turns) + lasting_SE[:end, end]
        after_turn_S[(now_S < prior.turn_evidence) | (np.arange(end) == 0)] = -math.inf
        turned_S = (before[:end] > 0.0) & (after_turn_S > score_SE[:, end])
        score_SE[:, end] = np.maximum(after_turn_S, score_SE[:, end])
        best_score = float(score_SE.max())
        before[end] = max(best_score, 0.0)
    score_SE[:, :num_blocks] += prior.caution
    start, stop = divmod(int(score_SE.argmax()), num_blocks + 1)  # the first of the best
    return Window(start, stop, best_score, bool(turned_S[start]) and stop == num_blocks)
