"""A user's log as learning sees it: the latest words, what may train, what a version had seen.

SQL in, plain values out. Three things take an event out of learning: a later word on the same image, or pair of
images, and aspect (*superseded*), a retraction, an open exclusion. The last two also *taint* every version that had
learned from it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from paaplus.db.tables import AdapterRow, ExclusionRow, FeedbackRow, ImageRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.records import PREFERS_FIRST, PREFERS_SECOND, TIE, Scale

HOLDOUT_ONE_IN = 5
_PREFERENCE = {"first": PREFERS_FIRST, "second": PREFERS_SECOND, "tie": TIE, "cannot_say": None}


@dataclass(frozen=True, slots=True)
class RatingEvent:
    """One rating or correction of the log, on the score scale."""

    sequence: int
    image_id: UUID
    scores: dict[str, float]
    held_out: bool


@dataclass(frozen=True, slots=True)
class LatestRating:
    """The latest word on one image: per aspect the newest valid score.

    `sequence` is the newest event's, `sequences` are those of all events that it was put together from.
    """

    sequence: int
    image_id: UUID
    scores: dict[str, float]
    held_out: bool
    sequences: frozenset[int]


@dataclass(frozen=True, slots=True)
class ComparisonEvent:
    """One comparison of the log: per aspect 1 (the first image), 0 (the second), 0.5 (a tie), None (cannot say)."""

    sequence: int
    first_id: UUID
    second_id: UUID
    preferences: dict[str, float | None]
    held_out: bool

    def preference(self, aspect: str, first_id: UUID) -> float | None:
        """The preference, counted from one of the two images as the first."""
        preference = self.preferences[aspect]
        return preference if preference is None or first_id == self.first_id else PREFERS_FIRST - preference


@dataclass(frozen=True, slots=True)
class LatestComparison:
    """The latest word on two images, whichever was named first: per aspect the newest valid preference.

    Where the newest is "cannot say" there is no preference. Fields are like those of `LatestRating`.
    """

    sequence: int
    first_id: UUID
    second_id: UUID
    preferences: dict[str, float]
    held_out: bool
    sequences: frozenset[int]


@dataclass(frozen=True, slots=True)
class ExclusionSpan:
    """An excluded event, from which of the user's epochs on and until which one; None: still."""

    sequence: int
    since_epoch: int
    until_epoch: int | None


@dataclass(frozen=True, slots=True)
class TrainedUpTo:
    """What a version had been shown: everything up to `high_water` that counted in `epoch`."""

    high_water: int
    epoch: int


TRAINED_ON_NOTHING = TrainedUpTo(0, 0)  # the base


@dataclass(frozen=True)
class FeedbackLog:
    """The whole log of one user at one moment. `head` is the last sequence number in it."""

    head: int
    events: Sequence[RatingEvent]
    retractions: dict[int, int]  # sequence of the event -> sequence of its retraction
    exclusions: Sequence[ExclusionSpan]
    unrated: frozenset[int] = frozenset()  # likes: kept, but no training reads them yet
    comparisons: Sequence[ComparisonEvent] = ()

    def latest_ratings(self) -> list[LatestRating]:
        """Latest valid words, one per image, in order of sequence."""
        invalid = self.excluded() | set(self.retractions)
        by_image: dict[UUID, dict[str, RatingEvent]] = {}
        for event in self.events:
            if event.sequence not in invalid:
                by_image.setdefault(event.image_id, {}).update(dict.fromkeys(event.scores, event))
        words = [
            LatestRating(
                sequence=max(event.sequence for event in newest.values()),
                image_id=image_id,
                scores={aspect: event.scores[aspect] for aspect, event in newest.items()},
                held_out=any(event.held_out for event in newest.values()),
                sequences=frozenset(event.sequence for event in newest.values()),
            )
            for image_id, newest in by_image.items()
        ]
        return sorted(words, key=lambda word: word.sequence)

    def latest_comparisons(self) -> list[LatestComparison]:
        """Latest valid words on pairs, one per pair that anything is said about, in order of sequence."""
        invalid = self.excluded() | set(self.retractions)
        by_pair: dict[frozenset[UUID], dict[str, ComparisonEvent]] = {}
        for event in self.comparisons:
            if event.sequence not in invalid:
                pair = frozenset((event.first_id, event.second_id))
                by_pair.setdefault(pair, {}).update(dict.fromkeys(event.preferences, event))
        words = [_latest_comparison(newest) for newest in by_pair.values()]
        return sorted((word for word in words if word is not None), key=lambda word: word.sequence)

    def image_ids(self) -> set[UUID]:
        """Images whose features a training needs."""
        compared = {image_id for event in self.comparisons for image_id in (event.first_id, event.second_id)}
        return {event.image_id for event in self.events} | compared

    def is_tainted(self, seen: TrainedUpTo) -> bool:
        """True if something that a version had learned from has been taken back since."""
        return bool(self.learned(seen) & (self.excluded() | set(self.retractions)))

    def is_new(self, seen: TrainedUpTo, word: LatestRating | LatestComparison) -> bool:
        """True if a version has not learned this word yet, or not all of it."""
        return any(not self._was_trained_on(seen, sequence) for sequence in word.sequences)

    def learned(self, seen: TrainedUpTo) -> set[int]:
        """Ratings and comparisons that a version had been shown."""
        return {sequence for sequence in self._trainable() if self._was_trained_on(seen, sequence)}

    def untrained(self, seen: TrainedUpTo) -> set[int]:
        """Every event, but for retractions, that a version had not been shown."""
        return {sequence for sequence in self._trainable() | self.unrated if not self._was_trained_on(seen, sequence)}

    def excluded(self) -> set[int]:
        """Events that are excluded now."""
        return {span.sequence for span in self.exclusions if span.until_epoch is None}

    def _trainable(self) -> set[int]:
        return {event.sequence for event in self.events} | {event.sequence for event in self.comparisons}

    def _was_trained_on(self, seen: TrainedUpTo, sequence: int) -> bool:
        if sequence > seen.high_water:
            return False
        retracted_at = self.retractions.get(sequence)
        if retracted_at is not None and retracted_at <= seen.high_water:
            return False  # the version knew that it had been taken back
        return not any(
            span.sequence == sequence
            and span.since_epoch <= seen.epoch
            and (span.until_epoch is None or span.until_epoch > seen.epoch)
            for span in self.exclusions
        )


def _latest_comparison(newest: dict[str, ComparisonEvent]) -> LatestComparison | None:
    """One word from the newest event on each aspect, named as in the latest of them; None: nothing is said."""
    saying = {aspect: event for aspect, event in newest.items() if event.preferences[aspect] is not None}
    if not saying:
        return None
    latest = max(saying.values(), key=lambda event: event.sequence)
    preferences = {aspect: event.preference(aspect, latest.first_id) for aspect, event in saying.items()}
    return LatestComparison(
        sequence=latest.sequence,
        first_id=latest.first_id,
        second_id=latest.second_id,
        preferences={aspect: value for aspect, value in preferences.items() if value is not None},
        held_out=any(event.held_out for event in saying.values()),
        sequences=frozenset(event.sequence for event in saying.values()),
    )


def is_held_out(key: str, user: UserRow, image_sha256: str) -> bool:
    """One image in five of every user judges and never trains; which ones, only the key's holder can tell."""
    message = f"{user.application}\0{user.external_id}\0{image_sha256}".encode()
    first = hmac.new(key.encode(), message, hashlib.sha256).digest()[:8]
    return int.from_bytes(first, "big") % HOLDOUT_ONE_IN == 0


def trained_up_to(version: AdapterRow | None) -> TrainedUpTo:
    """What a version had been shown; None: the base."""
    return TRAINED_ON_NOTHING if version is None else TrainedUpTo(version.high_water_sequence, version.epoch)


def read(session: Session, user: UserRow, holdout_key: str | None) -> FeedbackLog:
    """The log as the caller's transaction sees it. Without a key, nothing is marked as held out."""
    other = aliased(ImageRow)
    rows = session.execute(
        sa.select(
            FeedbackRow.sequence,
            FeedbackRow.kind,
            FeedbackRow.image_id,
            FeedbackRow.payload,
            FeedbackRow.retracts_sequence,
            ImageRow.sha256,
            FeedbackRow.other_image_id,
            other.sha256,
        )
        .join(ImageRow, ImageRow.id == FeedbackRow.image_id, isouter=True)
        .join(other, other.id == FeedbackRow.other_image_id, isouter=True)
        .where(FeedbackRow.user_id == user.id, FeedbackRow.sequence <= user.feedback_sequence)
        .order_by(FeedbackRow.sequence)
    ).all()
    events: list[RatingEvent] = []
    comparisons: list[ComparisonEvent] = []
    retractions: dict[int, int] = {}
    unrated: set[int] = set()
    for sequence, kind, image_id, payload, retracts, sha256, other_id, other_sha256 in rows:
        if kind == FeedbackKind.RETRACTION:
            retractions.setdefault(retracts, sequence)
        elif kind in (FeedbackKind.RATING, FeedbackKind.CORRECTION):
            scale = Scale(payload["scale"]["min"], payload["scale"]["max"])
            scores = {aspect: scale.to_score(value) for aspect, value in payload["ratings"].items()}
            held_out = holdout_key is not None and is_held_out(holdout_key, user, sha256)
            events.append(RatingEvent(sequence, image_id, scores, held_out))
        elif kind == FeedbackKind.COMPARISON:
            preferences = {aspect: _PREFERENCE[value] for aspect, value in payload["preference"].items()}
            held_out = holdout_key is not None and any(
                is_held_out(holdout_key, user, each) for each in (sha256, other_sha256)
            )
            comparisons.append(ComparisonEvent(sequence, image_id, other_id, preferences, held_out))
        else:
            unrated.add(sequence)
    spans = session.execute(
        sa.select(FeedbackRow.sequence, ExclusionRow.excluded_epoch, ExclusionRow.released_epoch)
        .join(FeedbackRow, FeedbackRow.id == ExclusionRow.feedback_id)
        .where(ExclusionRow.user_id == user.id)
    ).all()
    return FeedbackLog(
        head=user.feedback_sequence,
        events=events,
        retractions=retractions,
        exclusions=[ExclusionSpan(*span) for span in spans],
        unrated=frozenset(unrated),
        comparisons=comparisons,
    )
