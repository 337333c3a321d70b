"""A user's log as learning sees it: the latest words, what may train, what a version had seen.

SQL in, plain values out. Three things take an event out of learning: a later word on the same image and aspect
(*superseded*), a retraction, an open exclusion. The last two also *taint* every version that had learned from it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import ExclusionRow, FeedbackRow, ImageRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.records import Scale

HOLDOUT_ONE_IN = 5


@dataclass(frozen=True, slots=True)
class RatedEvent:
    """One rating or correction of the log, on the score scale."""

    sequence: int
    image_id: UUID
    scores: dict[str, float]
    held_out: bool


@dataclass(frozen=True, slots=True)
class Word:
    """The latest word on one image: per aspect the newest valid score; `sequence` is the newest event's."""

    sequence: int
    image_id: UUID
    scores: dict[str, float]
    held_out: bool


@dataclass(frozen=True, slots=True)
class ExclusionSpan:
    """When an event was excluded, and until when; None: still."""

    sequence: int
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What a version had been shown: everything up to `high_water` that counted at `at`. Nothing: the base."""

    high_water: int
    at: datetime | None


@dataclass(frozen=True)
class FeedbackLog:
    """The whole log of one user at one moment. `head` is the last sequence number in it."""

    head: int
    events: Sequence[RatedEvent]
    retractions: dict[int, int]  # sequence of the event -> sequence of its retraction
    exclusions: Sequence[ExclusionSpan]

    def words(self) -> list[Word]:
        """Latest valid words, one per image, in order of sequence."""
        invalid = self._invalid_now()
        latest: dict[UUID, Word] = {}
        for event in self.events:
            if event.sequence in invalid:
                continue
            earlier = latest.get(event.image_id)
            scores = {**(earlier.scores if earlier else {}), **event.scores}
            latest[event.image_id] = Word(event.sequence, event.image_id, scores, event.held_out)
        return sorted(latest.values(), key=lambda word: word.sequence)

    def is_tainted(self, seen: Seen) -> bool:
        """True if something that a version had learned from has been taken back since."""
        return any(self._had_seen(seen, sequence) for sequence in self._invalid_now())

    def is_new(self, seen: Seen, word: Word) -> bool:
        """True if a version has not learned this word yet."""
        return not self._had_seen(seen, word.sequence)

    def _invalid_now(self) -> set[int]:
        excluded = {span.sequence for span in self.exclusions if span.until is None}
        return excluded | set(self.retractions)

    def _had_seen(self, seen: Seen, sequence: int) -> bool:
        if seen.at is None or sequence > seen.high_water:
            return False
        retracted_at = self.retractions.get(sequence)
        if retracted_at is not None and retracted_at <= seen.high_water:
            return False  # the version knew that it had been taken back
        return not any(
            span.sequence == sequence and span.since <= seen.at and (span.until is None or span.until > seen.at)
            for span in self.exclusions
        )


def is_held_out(key: str, user: UserRow, image_sha256: str) -> bool:
    """One image in five of every user judges and never trains; which ones, nobody outside can choose."""
    message = f"{user.application}\0{user.external_id}\0{image_sha256}".encode()
    first = hmac.new(key.encode(), message, hashlib.sha256).digest()[:8]
    return int.from_bytes(first, "big") % HOLDOUT_ONE_IN == 0


def read(session: Session, user: UserRow, holdout_key: str) -> FeedbackLog:
    """The log as the caller's transaction sees it."""
    rows = session.execute(
        sa.select(
            FeedbackRow.sequence,
            FeedbackRow.kind,
            FeedbackRow.image_id,
            FeedbackRow.payload,
            FeedbackRow.retracts_sequence,
            ImageRow.sha256,
        )
        .join(ImageRow, ImageRow.id == FeedbackRow.image_id, isouter=True)
        .where(FeedbackRow.user_id == user.id, FeedbackRow.sequence <= user.feedback_sequence)
        .order_by(FeedbackRow.sequence)
    ).all()
    events: list[RatedEvent] = []
    retractions: dict[int, int] = {}
    for sequence, kind, image_id, payload, retracts, sha256 in rows:
        if kind == FeedbackKind.RETRACTION:
            retractions.setdefault(retracts, sequence)
        elif kind in (FeedbackKind.RATING, FeedbackKind.CORRECTION):
            scale = Scale(payload["scale"]["min"], payload["scale"]["max"])
            scores = {aspect: scale.to_score(value) for aspect, value in payload["ratings"].items()}
            events.append(RatedEvent(sequence, image_id, scores, is_held_out(holdout_key, user, sha256)))
    spans = session.execute(
        sa.select(FeedbackRow.sequence, ExclusionRow.created_at, ExclusionRow.released_at)
        .join(FeedbackRow, FeedbackRow.id == ExclusionRow.feedback_id)
        .where(ExclusionRow.user_id == user.id)
    ).all()
    return FeedbackLog(user.feedback_sequence, events, retractions, [ExclusionSpan(*span) for span in spans])
