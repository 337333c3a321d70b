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

    def log_start(self, blocks_before: np.ndarray | float) -> np.ndarray:
        before = np.asarray(blocks_before)
        later = math.log(self.starts_later) + (before - 1.0) * math.log(self.waits)
        return np.where(before <= 0.0, math.log(self.starts_at_once), later)

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


def best_windows(evidence_USE: np.ndarray, position_UB: np.ndarray, prior: PathPrior) -> list[Window]:
    """The best window of all blocks of each user.

    Args:
        evidence_USE: the order evidence of every window `[start, end)`, `-inf` where there is no such window.
        position_UB: where each user's blocks start and the last one ends, in blocks of the usual size; one more than
            blocks, of which there are some.
        prior: of windows.
    """
    num_users, num_blocks = evidence_USE.shape[:2]
    length_UEE = position_UB[:, None, :] - position_UB[:, :, None]
    lasting_USE, ended_UEE = prior.log_lasting(length_UEE[:, :-1]), prior.log_ended(length_UEE)
    log_window_USE = evidence_USE + prior.log_start(position_UB[:, :-1])[:, :, None] + lasting_USE
    may_turn_USE = evidence_USE >= prior.turn_evidence  # windows that last until now may begin with a turn
    may_turn_USE[:, 0] = False
    turned_USE = np.where(may_turn_USE, evidence_USE + math.log(prior.turns) + lasting_USE, -math.inf)
    before_UB = np.zeros((num_users, num_blocks + 1))  # best score of the blocks before each one, 0 at least
    score_USE, best_U, turned_US = log_window_USE, np.full(num_users, -math.inf), np.zeros((num_users, 0), np.bool_)
    for end in range(1, num_blocks + 1):
        score_USE = log_window_USE[:, :end, : end + 1] + ended_UEE[:, None, : end + 1, end]
        before_US = before_UB[:, :end]
        after_turn_US = turned_USE[:, :end, end] + before_US
        turned_US = (before_US > 0.0) & (after_turn_US > score_USE[:, :, end])
        score_USE[:, :, end] = np.maximum(after_turn_US, score_USE[:, :, end])
        best_U = score_USE.reshape(num_users, -1).max(axis=1)
        before_UB[:, end] = np.maximum(best_U, 0.0)
    score_USE[:, :, :num_blocks] += prior.caution
    place_U = score_USE.reshape(num_users, -1).argmax(axis=1)  # the first of the best
    return [
        Window(start, stop, best, bool(turned_S[start]) and stop == num_blocks)
        for (start, stop), best, turned_S in zip(
            np.column_stack(np.divmod(place_U, num_blocks + 1)).tolist(), best_U.tolist(), turned_US, strict=True
        )
    ]
