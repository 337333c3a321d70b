"""Windows: scores worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paaplus.gate.windows import PathPrior, Window, best_windows

PRIOR = PathPrior()


def evidence(per_block: list[float]) -> dict[tuple[int, int], float]:
    """Evidence that adds up over blocks."""
    total = np.concatenate([[0.0], np.cumsum(per_block)])
    num = len(per_block)
    return {(a, b): float(total[b] - total[a]) for a in range(num) for b in range(a + 1, num + 1)}


def best_window(evidence_of: dict[tuple[int, int], float], position_B: np.ndarray, prior: PathPrior) -> Window:
    evidence_SE = np.full((len(position_B) - 1, len(position_B)), -math.inf)
    for window, value in evidence_of.items():
        evidence_SE[window] = value
    [found] = best_windows(evidence_SE[None], position_B[None], prior)
    return found


def best(per_block: list[float]):
    return best_window(evidence(per_block), np.arange(len(per_block) + 1.0), PRIOR)


def test_order_from_the_beginning_is_one_window() -> None:
    found = best([3.0] * 5)
    assert (found.start, found.end, found.turned) == (0, 5, False)
    assert found.score == pytest.approx(15.0 + math.log(0.8) + 4 * math.log(0.9))


def test_newest_blocks_without_an_order_are_left_out() -> None:
    found = best([3.0, 3.0, 3.0, -4.0, -4.0])
    assert (found.start, found.end) == (0, 3)
    assert found.score == pytest.approx(9.0 + math.log(0.8) + 2 * math.log(0.9) + math.log(0.1) + math.log(0.95))


def test_oldest_blocks_without_an_order_are_left_out() -> None:
    found = best([-4.0] * 4 + [4.0] * 4)
    assert (found.start, found.end) == (4, 8)
    assert not found.turned, "there was no order before"


def test_taste_that_turned_starts_a_window() -> None:
    windows = evidence([4.0] * 8)
    for start, end in windows:  # both halves follow an order, but not the same
        if start < 4 < end:
            windows[start, end] = -5.0
    found = best_window(windows, np.arange(9.0), PRIOR)
    assert (found.start, found.end, found.turned) == (4, 8, True)


def test_caution_chooses_a_window_and_is_no_evidence() -> None:
    almost_nothing = best([1.4, -0.5])
    assert (almost_nothing.start, almost_nothing.end) == (0, 1), "the newest block waits"
    assert almost_nothing.score == pytest.approx(0.9 + math.log(0.8) + math.log(0.9)), "but the best score decides"


def test_prior_probabilities_of_windows_are_at_most_one() -> None:
    for num in (1, 2, 5, 40):
        total = sum(
            math.exp(PRIOR.log_start(a) + PRIOR.log_lasting(b - a) + PRIOR.log_ended(num - b))
            for a in range(num)
            for b in range(a + 1, num + 1)
        )
        assert total <= 1.0


@pytest.mark.slow
def test_odds_rarely_exceed_a_limit_however_often_one_looks() -> None:
    """Under no order every block's likelihood ratio has the mean 1: exp(N(-s^2 / 2, s^2))."""
    rng, limit, exceeded = np.random.default_rng(0), math.log(3.0), 0
    for _ in range(300):
        blocks = list(rng.normal(-0.5, 1.0, size=12))
        exceeded += any(best(blocks[:end]).score >= limit for end in range(1, 13))
    assert exceeded / 300 <= 1 / 3


def test_users_together_have_the_windows_of_each_alone() -> None:
    rng = np.random.default_rng(2)
    evidence_USE = np.full((30, 7, 8), -math.inf)
    for start, end in evidence([0.0] * 7):
        evidence_USE[:, start, end] = rng.normal(1.0, 6.0, size=30)
    position_UB = np.concatenate([np.zeros((30, 1)), np.cumsum(rng.choice([0.3, 1.0, 2.0], size=(30, 7)), axis=1)], 1)
    together = best_windows(evidence_USE, position_UB, PRIOR)
    assert together == [best_windows(evidence_USE[[u]], position_UB[[u]], PRIOR)[0] for u in range(30)]
    assert len({(each.start, each.end) for each in together}) > 5


def one_by_one(evidence_of: dict[tuple[int, int], float], position_B: np.ndarray) -> tuple[int, int, bool, float]:
    """The best window, each looked at alone: start, end, whether it is a turn, best score."""
    before, found = [0.0], (0, 0, False, 0.0)
    for end in range(1, len(position_B)):
        scores = {}
        for start, stop in ((a, b) for a in range(end) for b in range(a + 1, end + 1)):
            lasting = PRIOR.log_lasting(position_B[stop] - position_B[start])
            now = evidence_of[start, stop]
            score = (
                now + PRIOR.log_start(position_B[start]) + lasting + PRIOR.log_ended(position_B[end] - position_B[stop])
            )
            turn = before[start] + now + math.log(PRIOR.turns) + lasting
            may_turn = stop == end and start > 0 and now >= PRIOR.turn_evidence
            turned = may_turn and before[start] > 0 and turn > score
            scores[start, stop] = float(max(score, turn) if may_turn else score), turned
        chosen = max(scores, key=lambda window: scores[window][0] + (PRIOR.caution if window[1] < end else 0.0))
        best_score = max(score for score, _ in scores.values())
        before.append(max(best_score, 0.0))
        found = (*chosen, scores[chosen][1], best_score)
    return found


def test_all_windows_at_once_are_all_windows_one_by_one() -> None:
    rng, turns = np.random.default_rng(1), 0
    for _ in range(200):
        num = int(rng.integers(1, 12))
        position_B = np.concatenate([[0.0], np.cumsum(rng.choice([0.3, 1.0, 2.0, 4.0], size=num))])
        windows = evidence(list(rng.normal(0.5, 4.0, size=num)))
        windows = {window: value + float(rng.normal(0.0, 3.0)) for window, value in windows.items()}
        found, (start, end, turned, score) = best_window(windows, position_B, PRIOR), one_by_one(windows, position_B)
        assert (found.start, found.end, found.turned) == (start, end, turned)
        assert found.score == pytest.approx(score, abs=1e-12)
        turns += turned
    assert turns > 10, "the case that differs most must occur"
