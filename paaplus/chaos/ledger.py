"""The record of the traffic: posted events, acknowledgements, and answers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from paaplus.chaos.client import Answer

EventKey = tuple[str, str]  # user (the platform's id), event_id


@dataclass(frozen=True, slots=True)
class Scored:
    """One answered prediction. `number` is its adapter version, 0 for the base model."""

    user: str
    image: str
    number: int
    scores: dict[str, float]
    receipt: str


@dataclass
class Ledger:
    """The record, shared by all threads of the traffic; methods that change it take the lock."""

    posted: dict[EventKey, dict[str, Any]] = field(default_factory=dict)
    acknowledged: dict[EventKey, int] = field(default_factory=dict)  # event to the acknowledged sequence number
    scored: list[Scored] = field(default_factory=list)
    erasing: set[str] = field(default_factory=set)  # erasure requested: no promise holds for these users any more
    erased: set[str] = field(default_factory=set)  # erasure confirmed
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)  # by (what, status)
    latencies_s: list[float] = field(default_factory=list)
    num_duplicates: int = 0
    complaints: list[str] = field(default_factory=list)  # wrong answers that no fault explains
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def note_answer(self, what: str, answer: Answer, seconds: float) -> None:
        with self._lock:
            self.answers[what, answer.status] += 1
            self.latencies_s.append(seconds)
            if answer.status >= 500 and not answer.is_in_doubt:
                self.complaints.append(f"{what} was answered with {answer.status}: {answer.body}")

    def note_posted(self, user: str, event: dict[str, Any]) -> None:
        with self._lock:
            self.posted[user, event["event_id"]] = event

    def note_item(self, user: str, item: dict[str, Any]) -> None:
        """Record one item of the answer to a batch of feedback."""
        key = (user, item["event_id"])
        with self._lock:
            if item["status"] == "rejected":
                if user not in self.erasing:
                    self.complaints.append(f"event {key} was rejected: {item['error']}")
                return
            self.num_duplicates += item["status"] == "duplicate"
            told = self.acknowledged.setdefault(key, item["sequence"])
            if told != item["sequence"]:
                self.complaints.append(f"event {key} had number {told} and has {item['sequence']} now")

    def note_scored(self, scored: Scored) -> None:
        with self._lock:
            self.scored.append(scored)

    def note_erasing(self, user: str, *, is_done: bool) -> None:
        with self._lock:
            self.erasing.add(user)
            if is_done:
                self.erased.add(user)

    def in_doubt(self) -> list[EventKey]:
        """Events that were posted and not acknowledged, of users who are not erased."""
        with self._lock:
            return [key for key in self.posted if key not in self.acknowledged and key[0] not in self.erasing]

    def count(self, what: str, accepts: Callable[[int], bool] = lambda status: 200 <= status < 300) -> int:
        with self._lock:
            return sum(count for (name, status), count in self.answers.items() if name == what and accepts(status))
