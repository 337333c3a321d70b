"""The queue of postings: callers in turns, all or nothing, and nobody behind the group of another."""

from __future__ import annotations

import threading

import pytest

from paaplus.errors import Unavailable
from paaplus.services.feedback import postings
from paaplus.services.feedback.postings import PostingQueue

Named = tuple[str, int]  # a posting: its name, and its number of events


def queue_of(max_waiting: int = 100) -> PostingQueue[Named]:
    return PostingQueue(max_waiting, lambda posting: posting[1])


def test_small_posting_waits_for_one_part_of_anothers_batch() -> None:
    queue = queue_of()
    queue.put("greedy", [(f"part {n}", 64) for n in range(3)])
    assert queue.take(256, 64) == [("part 0", 64), ("part 1", 64), ("part 2", 64)], "alone, they are one transaction"
    queue.put("greedy", [(f"part {n}", 64) for n in range(3)])
    queue.put("anna", [("rating", 1)])
    queue.close()
    assert [queue.take(256, 64) for _ in range(4)] == [
        [("part 0", 64)], [("rating", 1)], [("part 1", 64)], [("part 2", 64)],
    ]  # fmt: skip


def test_small_postings_of_all_callers_are_one_group() -> None:
    queue = queue_of()
    for number in range(6):
        queue.put("abc"[number % 3], [(f"{'abc'[number % 3]}{number}", 1)])
    assert [name for name, _ in queue.take(256, 64)] == ["a0", "b1", "c2", "a3", "b4", "c5"]


def test_posting_that_is_larger_than_a_group_is_a_group() -> None:
    queue = queue_of()
    queue.put("a", [("large", 1000), ("next", 1)])
    assert queue.take(256, 64) == [("large", 1000)]
    assert queue.take(256, 64) == [("next", 1)]


def test_parts_are_taken_together_or_refused_together() -> None:
    queue = queue_of(max_waiting=3)
    queue.put("a", [("one", 1), ("two", 1)])
    with pytest.raises(Unavailable):
        queue.put("b", [("three", 1), ("four", 1)])
    assert queue.take(256, 64) == [("one", 1), ("two", 1)]
    queue.put("b", [(str(n), 1) for n in range(5)])  # more than fit at all, and nobody waits
    assert len(queue.take(256, 64)) == 5


def test_what_waits_is_given_out_after_the_end() -> None:
    queue = queue_of()
    queue.put("a", [("last", 1)])
    queue.close()
    assert queue.take(256, 64) == [("last", 1)]
    assert queue.take(256, 64) == []


def test_end_wakes_the_writer_that_waits() -> None:
    queue, taken = queue_of(), []
    writer = threading.Thread(target=lambda: taken.append(queue.take(256, 64)))
    writer.start()
    queue.close()
    writer.join(60)
    assert taken == [[]]


def test_caller_who_was_seen_long_ago_bounds_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = queue_of()
    queue.put("anna", [("rating", 1)])
    queue.take(256, 64)
    monkeypatch.setattr(postings, "ACTIVE_S", -1.0)
    queue.put("greedy", [(f"part {n}", 64) for n in range(4)])
    assert len(queue.take(256, 64)) == 4
