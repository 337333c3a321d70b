"""A user's feedback log as plain values: the latest answers, and which events a version was trained on.

An event does not train if a later one of its sort on the same image (or pair of images) and aspect replaces it, if it
was retracted, or if it is excluded. A retraction or an exclusion also taints every version that was trained on the
event. A rating, a like and a comparison are of different sorts: an image may have one of each.

Later is what was answered later: at the event's `occurred_at`, which is never taken to be after its receipt and is its
receipt where it is not given. Of answers that were given at the same time, the one with the higher sequence is later.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from operator import attrgetter
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from paaplus.db.raw_values import microseconds, raw, uuid_of
from paaplus.db.row_sets import encoded, row_set
from paaplus.db.tables import ExclusionRow, FeedbackRow, ImageRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.records import DISLIKED, LIKED, PREFERS_FIRST, PREFERS_SECOND, TIE, Scale
from paaplus.services.feedback.counted_events import GATE, CountedEvents, ExclusionSpan, TrainedUpTo
from paaplus.services.feedback.runs import parts_of, runs_of

HOLDOUT_ONE_IN = 5
_RETRACTION, _COMPARISON, _BINARY = (  # as the driver gives them
    kind.value for kind in (FeedbackKind.RETRACTION, FeedbackKind.COMPARISON, FeedbackKind.BINARY)
)
_RATINGS = (FeedbackKind.RATING.value, FeedbackKind.CORRECTION.value)
PREFERENCE_OF = {"first": PREFERS_FIRST, "second": PREFERS_SECOND, "tie": TIE, "cannot_say": None}


@dataclass(frozen=True, slots=True)
class RatingEvent:
    """One rating or correction of the log, on the score scale."""

    sequence: int
    image_id: UUID
    scores: dict[str, float]
    held_out: bool
    answered_at: int = 0  # when, in microseconds since 1970, as of all events


@dataclass(frozen=True, slots=True)
class LatestRating:
    """The latest rating of one image: per aspect the newest valid score.

    `sequence` is the highest of the events in it, `sequences` are those of all; `answered_at` is that of the newest.
    """

    sequence: int
    image_id: UUID
    scores: dict[str, float]
    held_out: bool
    sequences: frozenset[int]
    answered_at: int = 0

    @property
    def image_ids(self) -> tuple[UUID, ...]:
        return (self.image_id,)


@dataclass(frozen=True, slots=True)
class LikeEvent:
    """One like or dislike of the log."""

    sequence: int
    image_id: UUID
    liked: bool
    held_out: bool
    answered_at: int = 0


@dataclass(frozen=True, slots=True)
class LatestLike:
    """The latest like or dislike of one image. It is about all aspects together."""

    sequence: int
    image_id: UUID
    liked: bool
    held_out: bool
    sequences: frozenset[int]
    answered_at: int = 0

    @property
    def image_ids(self) -> tuple[UUID, ...]:
        return (self.image_id,)

    @property
    def answer(self) -> float:
        """As a preference of a `ComparedSet`."""
        return LIKED if self.liked else DISLIKED


@dataclass(frozen=True, slots=True)
class ComparisonEvent:
    """One comparison of the log. Preferences by aspect: 1 the first image, 0 the second, 0.5 a tie, None cannot say."""

    sequence: int
    first_id: UUID
    second_id: UUID
    preferences: dict[str, float | None]
    held_out: bool
    answered_at: int = 0

    def preference(self, aspect: str, first_id: UUID) -> float | None:
        """The preference for an aspect, as if `first_id` were the first image."""
        preference = self.preferences[aspect]
        return preference if preference is None or first_id == self.first_id else PREFERS_FIRST - preference


@dataclass(frozen=True, slots=True)
class LatestComparison:
    """The latest comparison of two images, in either order: per aspect the newest valid preference.

    An aspect whose newest answer is "cannot say" is left out. `sequence` and `sequences` are as in `LatestRating`.
    """

    sequence: int
    first_id: UUID
    second_id: UUID
    preferences: dict[str, float]
    held_out: bool
    sequences: frozenset[int]
    answered_at: int = 0

    @property
    def image_ids(self) -> tuple[UUID, ...]:
        return (self.first_id, self.second_id)


LatestAnswer = LatestRating | LatestComparison | LatestLike
Event = TypeVar("Event", RatingEvent, ComparisonEvent, LikeEvent)


@dataclass(frozen=True)
class FeedbackLog(CountedEvents):
    """The whole log of one user at one moment. `head` is its last sequence number.

    `deleted`: events whose image was deleted, by sequence. Nothing learns from them, but versions did. `origin` is that
    of the log which this one continues: events of logs with the same one have the same numbers.
    """

    head: int
    events: Sequence[RatingEvent]
    retractions: dict[int, int]  # sequence of the event -> sequence of its retraction
    exclusions: Sequence[ExclusionSpan]
    comparisons: Sequence[ComparisonEvent] = ()
    likes: Sequence[LikeEvent] = ()
    deleted: frozenset[int] = frozenset()
    origin: object = field(default_factory=object, compare=False, repr=False)

    def latest_ratings(self) -> list[LatestRating]:
        """The latest rating of each image, in order of sequence."""
        return list(self._latest_ratings)

    @cached_property
    def _latest_ratings(self) -> list[LatestRating]:
        newest: dict[UUID, RatingEvent] = {}
        mixed: dict[UUID, dict[str, RatingEvent]] = {}  # images whose newest event does not tell all aspects
        for event in self._valid_in_order(self.events):
            before = newest.setdefault(event.image_id, event)
            if before is event:
                continue
            if event.image_id in mixed or not before.scores.keys() <= event.scores.keys():
                by_aspect = mixed.setdefault(event.image_id, dict.fromkeys(before.scores, before))
                by_aspect.update(dict.fromkeys(event.scores, event))
            else:
                newest[event.image_id] = event
        latest = [_latest_rating(mixed[each]) for each in mixed]
        latest += [only_rating(event) for image_id, event in newest.items() if image_id not in mixed]
        return sorted(latest, key=_sequence)

    def first_ratings(self) -> dict[UUID, int]:
        """The number of the first event that counts on each rated image."""
        invalid = self.invalid()
        first: dict[UUID, int] = {}
        for event in self.events:
            if event.sequence not in invalid:
                first.setdefault(event.image_id, event.sequence)
        return first

    def latest_comparisons(self) -> list[LatestComparison]:
        """The latest comparison of each pair of images, that has a preference, in order of sequence."""
        by_pair: dict[frozenset[UUID], dict[str, ComparisonEvent]] = {}
        for event in self._valid_in_order(self.comparisons):
            pair = frozenset((event.first_id, event.second_id))
            by_pair.setdefault(pair, {}).update(dict.fromkeys(event.preferences, event))
        comparisons = [_latest_comparison(newest) for newest in by_pair.values()]
        return sorted((each for each in comparisons if each is not None), key=lambda each: each.sequence)

    def valid_comparisons(self) -> list[ComparisonEvent]:
        """All comparisons that count, in the order in which they were answered: also of one pair more than once."""
        return self._valid_in_order(self.comparisons)

    def latest_likes(self) -> list[LatestLike]:
        """The latest like or dislike of each image, in order of sequence."""
        newest = {event.image_id: event for event in self._valid_in_order(self.likes)}
        likes = [
            LatestLike(e.sequence, e.image_id, e.liked, e.held_out, frozenset({e.sequence}), e.answered_at)
            for e in newest.values()
        ]
        return sorted(likes, key=lambda like: like.sequence)

    def latest_compared(self) -> list[LatestComparison | LatestLike]:
        """All latest answers but ratings: what a `ComparedSet` holds. Comparisons first."""
        return [*self.latest_comparisons(), *self.latest_likes()]

    def _valid_in_order(self, events: Sequence[Event]) -> list[Event]:
        """The events that count, in the order in which the answers were given."""
        invalid = self.invalid()
        return sorted((e for e in events if e.sequence not in invalid), key=lambda e: (e.answered_at, e.sequence))

    def image_ids(self) -> set[UUID]:
        """Images that are rated, compared or liked: those whose features a training needs."""
        compared = {image_id for event in self.comparisons for image_id in (event.first_id, event.second_id)}
        return {event.image_id for event in self.events} | {event.image_id for event in self.likes} | compared

    def is_new(self, trained_up_to: TrainedUpTo, latest: LatestAnswer) -> bool:
        """Whether a version was not trained on all events of this answer."""
        if self.is_plain:
            return latest.sequence > trained_up_to.high_water
        return any(not self.was_trained_on(trained_up_to, sequence) for sequence in latest.sequences)

    def without_quarantine(self) -> FeedbackLog:
        """The log as if the gate had excluded nothing: what the gate judges."""
        if all(span.actor != GATE for span in self.exclusions):
            return self
        return replace(self, exclusions=[span for span in self.exclusions if span.actor != GATE])

    def with_quarantine(self, sequences: Collection[int], epoch: int) -> FeedbackLog:
        """The log as it will be when these events, and no others, are in quarantine from an epoch on."""
        spans: list[ExclusionSpan] = []
        for span in self.exclusions:
            if span.until_epoch is not None or span.actor != GATE:
                spans.append(span)
                continue
            for stays, part in parts_of(span.sequences, sequences):
                spans.append(replace(span, first=part[0], last=part[-1], until_epoch=None if stays else epoch))
        new = runs_of(set(sequences) - self.excluded())
        return replace(self, exclusions=[*spans, *(ExclusionSpan(run[0], run[-1], epoch, None, GATE) for run in new)])

    def outside(self, in_window: Callable[[int], bool]) -> set[int]:
        """Ratings and comparisons that may be quarantined and are not in a window of sequence numbers."""
        free = self.trainable() - (self.excluded() - self.quarantined()) - set(self.retractions) - self.vouched_for()
        return {sequence for sequence in free if not in_window(sequence)}

    def trainable(self) -> set[int]:
        events: list[RatingEvent | ComparisonEvent | LikeEvent] = [*self.events, *self.comparisons, *self.likes]
        return {event.sequence for event in events} | self.deleted

    def followed_by(self, newer: FeedbackLog) -> FeedbackLog:
        """This log with the events of a later part of it, whose head and exclusions are those of the whole."""
        return FeedbackLog(
            head=newer.head,
            events=[*self.events, *newer.events],
            retractions={**newer.retractions, **self.retractions},  # the first retraction of an event counts
            exclusions=newer.exclusions,
            comparisons=[*self.comparisons, *newer.comparisons],
            likes=[*self.likes, *newer.likes],
            deleted=self.deleted | newer.deleted,
            origin=self.origin,
        )

    def since(self, before: FeedbackLog) -> FeedbackLog:
        """The events that this log has beside those of a log that it continues."""
        return replace(
            self,
            events=self.events[len(before.events) :],
            comparisons=self.comparisons[len(before.comparisons) :],
            likes=self.likes[len(before.likes) :],
        )


def _latest_rating(newest: dict[str, RatingEvent]) -> LatestRating:
    """Join the newest event of each aspect of an image."""
    events = {event.sequence: event for event in newest.values()}.values()
    return LatestRating(
        sequence=max(event.sequence for event in events),
        image_id=next(iter(events)).image_id,
        scores={aspect: event.scores[aspect] for aspect, event in newest.items()},
        held_out=any(event.held_out for event in events),
        sequences=frozenset(event.sequence for event in events),
        answered_at=max(event.answered_at for event in events),
    )


def only_rating(event: RatingEvent) -> LatestRating:
    """Of an image whose newest event tells all aspects."""
    return LatestRating(
        event.sequence, event.image_id, event.scores, event.held_out, frozenset((event.sequence,)), event.answered_at
    )


def _latest_comparison(newest: dict[str, ComparisonEvent]) -> LatestComparison | None:
    """Join the newest event of each aspect, with the images in the latest event's order; None: no preference."""
    preferring = {aspect: event for aspect, event in newest.items() if event.preferences[aspect] is not None}
    if not preferring:
        return None
    latest = max(preferring.values(), key=lambda event: (event.answered_at, event.sequence))
    preferences = {aspect: event.preference(aspect, latest.first_id) for aspect, event in preferring.items()}
    return LatestComparison(
        sequence=max(event.sequence for event in preferring.values()),
        first_id=latest.first_id,
        second_id=latest.second_id,
        preferences={aspect: value for aspect, value in preferences.items() if value is not None},
        held_out=any(event.held_out for event in preferring.values()),
        sequences=frozenset(event.sequence for event in preferring.values()),
        answered_at=latest.answered_at,
    )


_sequence = attrgetter("sequence")


def answer_time(occurred_at: Any, received_at: Any) -> int:
    """When an answer was given, in microseconds since 1970: when it occurred, at its receipt at the latest.

    Args:
        occurred_at, received_at: as the driver gives them.
    """
    moment = received_at if occurred_at is None else min(occurred_at, received_at)
    return moment if isinstance(moment, int) else microseconds(moment)


def is_held_out(key: str, user: UserRow, image_sha256: str) -> bool:
    """Whether a user's ratings of an image are held out: one image in five, by a keyed hash."""
    return _held_out_of(key, user)(image_sha256)


def _held_out_of(key: str, user: UserRow) -> Callable[[str], bool]:
    """Tells of an image's digest whether the user's ratings of it are held out."""
    secret, of_user = key.encode(), f"{user.application}\0{user.external_id}\0".encode()

    def tell(image_sha256: str) -> bool:
        keyed = hmac.digest(secret, of_user + image_sha256.encode(), "sha256")
        return int.from_bytes(keyed[:8], "big") % HOLDOUT_ONE_IN == 0

    return tell


def scores_of(payload: dict[str, Any]) -> dict[str, float]:
    """Scores by aspect of a rating's payload."""
    scale = _scale_of(payload["scale"]["min"], payload["scale"]["max"])
    return {aspect: scale.to_score(value) for aspect, value in payload["ratings"].items()}


@lru_cache(1024)
def _scale_of(minimum: float, maximum: float) -> Scale:
    """The scale of a rating. Most people use one of few."""
    return Scale(minimum, maximum)


def read(session: Session, user: UserRow, holdout_key: str | None) -> FeedbackLog:
    """Read the user's log in the caller's transaction. Without a key, nothing is marked as held out."""
    return read_many(session, [user], holdout_key)[user.id]


def read_many(session: Session, users: Collection[UserRow], holdout_key: str | None) -> dict[UUID, FeedbackLog]:
    """The logs of several users, in two statements. See `read`."""
    rows_of = event_rows(session, [(user, 1) for user in users])
    spans_of = exclusions_of(session, [user.id for user in users])
    return {user.id: log_of(user, rows_of[user.id], spans_of[user.id], holdout_key) for user in users}


def event_rows(session: Session, since: Collection[tuple[UserRow, int]]) -> dict[UUID, list[Sequence[Any]]]:
    """The events of users from a sequence number on, by user, in order: what `log_of` takes.

    A row begins with the user's id, as the driver gives it, the event's key and its sequence. It ends with the time of
    its receipt, as the driver gives it.
    """
    dialect = session.get_bind().dialect.name
    spans = {"users": encoded(dialect, ((user.id, user.feedback_sequence, first) for user, first in since))}
    rows_of: dict[UUID, list[Sequence[Any]]] = {user.id: [] for user, _ in since}
    for row in session.connection().execute(_events(dialect), spans).all():
        rows_of[uuid_of(row[0])].append(row)
    return rows_of


def exclusions_of(session: Session, user_ids: Collection[UUID]) -> dict[UUID, list[ExclusionSpan]]:
    """The exclusions of users' events, by user."""
    dialect = session.get_bind().dialect.name
    spans_of: dict[UUID, list[ExclusionSpan]] = {user_id: [] for user_id in user_ids}
    users = encoded(dialect, ([user_id] for user_id in user_ids))
    for user_id, *span in session.execute(_spans(dialect), {"users": users}):
        spans_of[user_id].append(ExclusionSpan(*span))
    return spans_of


@cache
def _events(dialect: str) -> sa.Select[Any]:
    """The events of users from one sequence number to another, with the digests of their images, in order."""
    users = row_set(dialect, "users", {"id": sa.Uuid(), "head": sa.Integer(), "first": sa.Integer()})
    within = FeedbackRow.sequence.between(users.c.first, users.c.head)
    other = aliased(ImageRow)
    return (
        sa.select(
            raw(FeedbackRow.user_id),
            FeedbackRow.event_key,
            FeedbackRow.sequence,
            raw(FeedbackRow.kind),
            raw(FeedbackRow.image_id),
            FeedbackRow.payload,
            FeedbackRow.retracts_sequence,
            ImageRow.sha256,
            raw(FeedbackRow.other_image_id),
            other.sha256,
            raw(FeedbackRow.occurred_at),
            raw(FeedbackRow.received_at),
        )
        .join(users, sa.and_(users.c.id == FeedbackRow.user_id, within))
        .join(ImageRow, ImageRow.id == FeedbackRow.image_id, isouter=True)
        .join(other, other.id == FeedbackRow.other_image_id, isouter=True)
        .order_by(FeedbackRow.user_id, FeedbackRow.sequence)
    )


@cache
def _spans(dialect: str) -> sa.Select[*tuple[Any, ...]]:
    """The exclusions of users' events."""
    users = row_set(dialect, "users", {"id": sa.Uuid()})
    return sa.select(
        ExclusionRow.user_id,
        ExclusionRow.first_sequence,
        ExclusionRow.last_sequence,
        ExclusionRow.excluded_epoch,
        ExclusionRow.released_epoch,
        ExclusionRow.actor,
        ExclusionRow.released_by,
    ).join(users, users.c.id == ExclusionRow.user_id)


def log_of(
    user: UserRow, rows: Sequence[Sequence[Any]], spans: list[ExclusionSpan], holdout_key: str | None
) -> FeedbackLog:
    """The log that some rows of `event_rows` hold."""
    events: list[RatingEvent] = []
    comparisons: list[ComparisonEvent] = []
    retractions: dict[int, int] = {}
    likes: list[LikeEvent] = []
    deleted: set[int] = set()
    is_held = _held_out_of(holdout_key, user) if holdout_key is not None else None
    for _, _, sequence, kind, image, payload, retracts, sha256, other, other_sha256, occurred_at, received_at in rows:
        answered_at = answer_time(occurred_at, received_at)
        if kind == _RETRACTION:
            retractions.setdefault(retracts, sequence)
        elif image is None or (kind == _COMPARISON and other is None):
            deleted.add(sequence)
        elif kind in _RATINGS:
            held_out = is_held is not None and is_held(sha256)
            events.append(RatingEvent(sequence, uuid_of(image), scores_of(payload), held_out, answered_at))
        elif kind == _COMPARISON:
            preferences = {aspect: PREFERENCE_OF[value] for aspect, value in payload["preference"].items()}
            held_out = is_held is not None and (is_held(sha256) or is_held(other_sha256))
            first_id, second_id = uuid_of(image), uuid_of(other)
            comparisons.append(ComparisonEvent(sequence, first_id, second_id, preferences, held_out, answered_at))
        elif kind == _BINARY:
            held_out = is_held is not None and is_held(sha256)
            likes.append(LikeEvent(sequence, uuid_of(image), payload["liked"], held_out, answered_at))
    return FeedbackLog(
        head=user.feedback_sequence,
        events=events,
        retractions=retractions,
        exclusions=spans,
        comparisons=comparisons,
        likes=likes,
        deleted=frozenset(deleted),
    )
