"""Verdicts on long logs: functions of the log alone, whatever a process knows, and of which little is measured anew."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from paaplus.gate import FeedbackVerdict, JudgedFeedback, KnownEvidence, feedback_verdicts, verdict
from paaplus.gate.blocks import block_starts
from paaplus.gate.long_logs import milestone, starts_by_number
from paaplus.gate.window_products import BlockRows, BlockSums
from paaplus.records import RatedSet
from paaplus.scoring.fingerprints import scrambled, word_sums
from tests.paaplus.gate.test_verdicts_together import KINDS, feedback, wide_prior

PRIOR, OTHER_PRIOR = wide_prior(np.random.default_rng(0)), wide_prior(np.random.default_rng(1))


class Memory:
    """Keeps everything."""

    def __init__(self) -> None:
        self.known: dict[bytes, KnownEvidence] = {}

    def get(self, basis: bytes) -> KnownEvidence | None:
        return self.known.get(basis)

    def put(self, basis: bytes, known: KnownEvidence) -> None:
        self.known[basis] = known


@pytest.fixture
def num_measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many windows of ratings were measured, call by call."""
    asked: list[int] = []
    products = BlockRows.products

    def counted(self: BlockRows, window_W2: np.ndarray, ratio_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked.append(len(window_W2))
        return products(self, window_W2, ratio_T)

    monkeypatch.setattr(BlockRows, "products", counted)
    return asked


def until(user: JudgedFeedback, sequence: int, memory: Memory | None = None) -> JudgedFeedback:
    compared = user.compared
    if len(compared):
        compared = compared.select(compared.sequence_C <= sequence)
    rated = user.rated.select(user.rated.sequence_N <= sequence)
    return JudgedFeedback(rated, compared, user.prior, user.config, memory=memory)


def of(user: JudgedFeedback) -> FeedbackVerdict:
    return feedback_verdicts([user])[0]


def assert_same(found: FeedbackVerdict, expected: FeedbackVerdict) -> None:
    facts, others = found.to_dict(), expected.to_dict()
    assert facts.pop("log_odds") == pytest.approx(others.pop("log_odds"), rel=1e-10, abs=1e-9)
    assert facts == others


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(220, 0), (150, 60), (30, 90)], ids=str)
def test_a_verdict_is_the_same_whatever_is_known(kind: str, size: tuple[int, int], monkeypatch) -> None:
    """Any split into trainings, a process that knows all, one that starts anew, and other users in between."""
    monkeypatch.setattr(verdict, "LONG_LOG", 60)
    user, memory, rng = feedback(kind, *size, PRIOR, 3), Memory(), np.random.default_rng(5)
    ends = [*np.sort(rng.choice(user.ordered_X[60:], 6, replace=False)).tolist(), int(user.ordered_X[-1])]
    for end in ends:
        if rng.integers(4) == 0:
            memory = Memory()  # the worker was started again
        of(replace(feedback("follows", 80, 10, OTHER_PRIOR, 9), memory=memory))
        assert_same(of(until(user, end, memory)), of(until(user, end)))
    assert of(replace(user, memory=memory)).num_answers == sum(size)


def test_little_is_measured_anew_if_ten_answers_follow(num_measured: list[int], monkeypatch) -> None:
    monkeypatch.setattr(verdict, "LONG_LOG", 60)
    user, memory = feedback("follows", 600, 0, PRIOR, 3), Memory()
    user = replace(user, rated=renumbered(user.rated))
    of(until(user, 560, memory))
    num_blocks = len(block_starts(570)) - 1
    num_measured.clear()
    of(until(user, 570, memory))
    assert 0 < max(num_measured) <= 2 * num_blocks < num_blocks * (num_blocks + 1) // 4
    num_measured.clear()
    of(until(user, 570, memory))
    assert max(num_measured) == 0


def test_an_answer_that_is_replaced_changes_only_windows_with_it(num_measured: list[int], monkeypatch) -> None:
    """Its image is among those that were rated first, and stays so."""
    monkeypatch.setattr(verdict, "LONG_LOG", 60)
    user, memory = feedback("follows", 300, 0, PRIOR, 3), Memory()
    user = replace(user, rated=renumbered(user.rated), memory=memory)
    of(user)
    order = np.array([*range(105), *range(106, 300), 105])  # the 106th is given again
    rated = user.rated.select(order[:-1])
    again = replace(user.rated.select(order[-1:]), sequence_N=np.array([301]))
    changed = replace(user, rated=RatedSet.concatenate(rated, again), first_N=order + 1)
    num_measured.clear()
    found = of(changed)
    with_it_or_newest = sum(
        start <= place < end or end == len(changed.start_B) - 1
        for place in [int(np.searchsorted(changed.start_B, 105, side="right")) - 1]
        for start in range(len(changed.start_B) - 1)
        for end in range(start + 1, len(changed.start_B))
    )
    assert max(num_measured) <= with_it_or_newest + len(changed.start_B)  # and those of blocks that are cut anew
    assert_same(found, of(replace(changed, memory=None)))


def test_what_is_known_under_another_prior_or_mean_is_not_used(monkeypatch) -> None:
    monkeypatch.setattr(verdict, "LONG_LOG", 60)
    user, memory = feedback("follows", 150, 40, PRIOR, 3), Memory()
    of(replace(user, memory=memory))
    shifted = replace(PRIOR, mean_PA=PRIOR.mean_PA + 0.1)
    for prior in (OTHER_PRIOR, shifted, replace(PRIOR, noise_sd_A=PRIOR.noise_sd_A * 1.1)):
        assert_same(of(replace(user, prior=prior, memory=memory)), of(replace(user, prior=prior)))


def test_logs_that_are_not_long_are_judged_as_ever() -> None:
    """Bit by bit, with or without a memory, which then keeps nothing."""
    user, memory = feedback("follows", 200, 56, PRIOR, 3), Memory()
    assert of(replace(user, memory=memory)) == of(user)
    assert not memory.known
    longer = feedback("follows", 200, 57, PRIOR, 3)
    of(replace(longer, memory=memory))
    assert memory.known


@pytest.mark.parametrize("first", [32, 64])
def test_milestones_are_reached_and_grow_by_a_quarter(first: int) -> None:
    reached = [milestone(num, first) for num in range(1, 3_000)]
    assert all(each <= num < max(first, each) * 1.25 + 1 for num, each in enumerate(reached, 1))
    assert reached == sorted(reached)
    assert len(set(reached[first:])) < 25


def test_blocks_are_cut_at_fixed_numbers() -> None:
    for num in (1, 9, 257, 1_000, 9_999):
        np.testing.assert_array_equal(starts_by_number(np.arange(1, num + 1)), block_starts(num))
    numbers = np.arange(1, 1_001)
    gone = np.random.default_rng(0).choice(800, 200, replace=False)
    left = np.delete(numbers, gone)
    first = set(numbers[block_starts(1_000)[:-1]].tolist())
    cut = starts_by_number(left)
    assert (cut[0], cut[-1]) == (0, 800)
    assert all(any(left[at - 1] < number <= left[at] for number in first) for at in cut[1:-1])


def test_blocks_of_which_little_is_left_are_joined() -> None:
    newest = np.arange(9_901, 10_001)
    assert len(starts_by_number(newest)) - 1 <= 13
    rng = np.random.default_rng(0)
    for share in (0.02, 0.2, 0.7):
        left = np.flatnonzero(rng.random(10_000) < share) + 1
        cut = starts_by_number(left)
        assert (cut[0], cut[-1]) == (0, len(left))
        assert (np.diff(cut) > 0).all()


def test_sums_of_blocks_stand_for_rows_of_long_windows() -> None:
    rng = np.random.default_rng(0)
    row_NM, column_N3, start_B = rng.normal(size=(400, 7)), rng.normal(size=(400, 3)), np.array([0, 130, 131, 260, 400])
    windows, ratios = np.array([(a, b) for a in range(4) for b in range(a + 1, 5)]), np.array([0.1, 3.0])
    sums = [BlockSums.of(row_NM[a:b], column_N3[a:b]) for a, b in itertools.pairwise(start_B)]
    unread_NM = np.full_like(row_NM, np.nan)
    unread_NM[130:131] = row_NM[130:131]  # the only short window
    whole, known = BlockRows(row_NM, column_N3, start_B), BlockRows(unread_NM, column_N3, start_B, sums_B=sums)
    for found, expected in zip(known.products(windows, ratios), whole.products(windows, ratios), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(known.moments(windows), whole.moments(windows), rtol=1e-9, atol=1e-9)


def test_fingerprints_tell_rows_and_their_sets_apart() -> None:
    rng = np.random.default_rng(0)
    image_NR, rating_N = rng.normal(size=(50, 20)).astype(np.float32), rng.normal(size=50).astype(np.float32)
    rows_N2 = scrambled(word_sums([image_NR, rating_N]))
    assert len({each.tobytes() for each in rows_N2}) == 50
    np.testing.assert_array_equal(rows_N2, scrambled(word_sums([image_NR]) + word_sums([rating_N], 1)))
    exchanged_N = rating_N.copy()
    exchanged_N[[3, 4]] = rating_N[[4, 3]]  # the same images and ratings, not together
    assert scrambled(word_sums([image_NR, exchanged_N])).sum(axis=0).tolist() != rows_N2.sum(axis=0).tolist()
    flipped_NR = image_NR.copy()
    flipped_NR[0] *= -1.0
    assert (scrambled(word_sums([flipped_NR, rating_N]))[0] != rows_N2[0]).all()


def renumbered(rated: RatedSet) -> RatedSet:
    return replace(rated, sequence_N=np.arange(1, len(rated) + 1))
