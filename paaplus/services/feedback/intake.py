"""Append events to users' feedback logs, each at most once, and reject invalid ones."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, Literal, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.util import identity_key

from paaplus.db.clock import db_now
from paaplus.db.row_sets import encoded, row_set
from paaplus.db.tables import BaseModelRow, FeedbackRow, ImageRow, PredictionReceiptRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.tables.users import DueReason
from paaplus.db.types import utcnow
from paaplus.errors import Conflict, InvalidInput, NotFound, PaaplusError, TooMany
from paaplus.ids import new_id
from paaplus.queue import jobs
from paaplus.records import Scale
from paaplus.services import scheduling
from paaplus.services.scheduling import DUE_COLUMNS, DueState
from paaplus.settings import Settings

PREFERENCES = ("first", "second", "tie", "cannot_say")
RATED_KINDS = (FeedbackKind.RATING, FeedbackKind.CORRECTION)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One event as it was posted, with its references resolved to ids."""

    index: int
    user_id: UUID
    event_id: str
    kind: FeedbackKind
    payload: dict[str, Any]
    image_id: UUID | None = None
    other_image_id: UUID | None = None
    receipt_id: UUID | None = None
    retracts_event_id: str | None = None
    occurred_at: datetime | None = None

    def body_digest(self) -> str:
        """Digest of the content: two posts under one `event_id` are the same event if their digests are equal."""
        body = [
            self.kind.value,
            str(self.image_id),
            str(self.other_image_id),
            str(self.receipt_id),
            self.retracts_event_id,
            self.payload,
        ]
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class AppendResult:
    """The outcome of one event. `sequence` is its number in the user's log; `error` says why it was rejected."""

    index: int
    event_id: str
    status: Literal["accepted", "duplicate", "rejected"]
    sequence: int | None = None
    error: PaaplusError | None = None


@dataclass(frozen=True, slots=True)
class PreparedEvent:
    """An event that was checked as far as that needs no lock. `columns` of its row, or `error`: why it is rejected."""

    event: NewEvent
    source: str
    application: str | None
    digest: str
    columns: dict[str, Any]
    error: PaaplusError | None


@dataclass(frozen=True, slots=True)
class _Image:
    application: str
    owner_id: UUID | None


@dataclass(frozen=True, slots=True)
class _Receipt:
    user_id: UUID
    image_id: UUID


@dataclass(frozen=True, slots=True)
class _Context:
    """What the events of one call refer to."""

    aspects: frozenset[str] | None
    applications: dict[UUID, str]  # of users
    images: dict[UUID, _Image]
    receipts: dict[UUID, _Receipt]


@dataclass(slots=True)
class _LockedUser:
    """A user's row, locked, with the events that are appended to the user's log."""

    id: UUID
    application: str
    feedback_sequence: int
    due: DueState


KnownEvents = dict[tuple[UUID, str], tuple[int, str, FeedbackKind]]  # sequence, body digest, kind


def append(
    session: Session,
    application: str | None,
    events: list[NewEvent],
    *,
    source: str,
    settings: Settings,
    max_per_day: int = 0,
) -> list[AppendResult]:
    """Append events to their users' logs, in the given order. An invalid event is rejected; the others are appended.

    Args:
        application: the only application whose users may be named; None: any.
        max_per_day: limit of new events of one user in 24 hours; 0: no limit.

    Returns:
        One result per event, in the given order.
    """
    prepared = prepare(session, application, events, source=source)
    return append_prepared(session, prepared, settings=settings, max_per_day=max_per_day)


def prepare(session: Session, application: str | None, events: list[NewEvent], *, source: str) -> list[PreparedEvent]:
    """Check events as far as that needs no lock, in any transaction that ends before or with the appending one."""
    return prepare_each(session, [(event, source, application) for event in events])


def prepare_each(session: Session, events: Sequence[tuple[NewEvent, str, str | None]]) -> list[PreparedEvent]:
    """As `prepare`, for events of several callers: each with its source, and the only application that it may name."""
    session.flush()
    context = _read_context(session, [event for event, _, _ in events])
    return [_prepared(event, source, application, context) for event, source, application in events]


def append_prepared(
    session: Session,
    prepared: Sequence[PreparedEvent],
    *,
    settings: Settings,
    max_per_day: int = 0,
    wait: bool = True,
) -> list[AppendResult]:
    """Append checked events, see `append`. A few statements, for any number of events and users.

    Users are locked in order of id for the rest of the transaction. So sequence numbers have no gaps, and become
    visible in order. A user who is due now gets a job in the same transaction.

    Args:
        wait: for users that another transaction has locked; False: on PostgreSQL the database's error tells it at once.
    """
    if not prepared:
        return []
    session.flush()
    users = _lock_users(session, {p.event.user_id for p in prepared}, wait)
    known = _known_events(session, prepared)
    allowed_at = _Allowed(session, max_per_day, Counter(p.event.user_id for p in prepared), users)
    now = utcnow()
    results: list[AppendResult] = []
    rows: list[dict[str, Any]] = []
    changed: dict[UUID, _LockedUser] = {}
    for item in prepared:
        event = item.event
        user = users.get(event.user_id)
        if user is None or item.application not in (None, user.application):
            results.append(_rejected(event, NotFound(f"user {event.user_id} does not exist")))
            continue
        changed[user.id] = user
        earlier = known.get((user.id, event.event_id))
        if earlier is not None and earlier[1] == item.digest:
            results.append(AppendResult(event.index, event.event_id, "duplicate", earlier[0]))
            continue
        try:
            if earlier is not None:
                raise Conflict(f"event_id {event.event_id!r} was used for another event of this user")
            if item.error is not None:
                raise item.error
            retracted = _retracted_sequence(event, known) if event.kind == FeedbackKind.RETRACTION else None
            allowed_at.check(user.id, user.feedback_sequence + 1)
        except PaaplusError as error:
            results.append(_rejected(event, error))
            continue
        user.feedback_sequence += 1
        user.due.pending_count += 1
        user.due.pending_since = min(user.due.pending_since or now, now)
        row = {"id": new_id(), "sequence": user.feedback_sequence, "received_at": now, "retracts_sequence": retracted}
        rows.append(item.columns | row)
        known[user.id, event.event_id] = (user.feedback_sequence, item.digest, event.kind)
        results.append(AppendResult(event.index, event.event_id, "accepted", user.feedback_sequence))
    if rows:
        _insert(session, rows)
    _write_users(session, list(changed.values()), settings)
    return results


def kind_of(name: str) -> FeedbackKind:
    """The kind of event of this name.

    Raises:
        InvalidInput: there is none.
    """
    try:
        return FeedbackKind(name)
    except ValueError:
        raise InvalidInput(f"unknown kind of feedback {name!r:.40}") from None


def known_aspects(session: Session) -> frozenset[str] | None:
    """The aspects that feedback may name: those of all base models that are not retired; None: there is none yet."""
    aspects = session.connection().execute(_ASPECTS).scalars()
    known = [set(names) for names in aspects]
    return frozenset(set.union(*known)) if known else None


_ASPECTS: Final = (
    sa.select(BaseModelRow.aspects).where(BaseModelRow.retired_at.is_(None)).order_by(BaseModelRow.id.desc())
)


def _read_context(session: Session, events: list[NewEvent]) -> _Context:
    applications = _by_id(session, UserRow, (UserRow.application,), {e.user_id for e in events})
    receipt_ids = {e.receipt_id for e in events if e.receipt_id is not None}
    columns: tuple[Any, ...] = (PredictionReceiptRow.user_id, PredictionReceiptRow.image_id)
    receipts = {i: _Receipt(*row) for i, row in _by_id(session, PredictionReceiptRow, columns, receipt_ids).items()}
    image_ids = {i for e in events for i in (e.image_id, e.other_image_id) if i is not None}
    image_ids |= {r.image_id for r in receipts.values()}
    columns = (ImageRow.application, ImageRow.owner_id)
    images = {i: _Image(*row) for i, row in _by_id(session, ImageRow, columns, image_ids).items()}
    return _Context(
        known_aspects(session),
        {user_id: application for user_id, (application,) in applications.items()},
        images,
        receipts,
    )


def _by_id(session: Session, table: type[Any], columns: tuple[Any, ...], ids: set[UUID]) -> dict[UUID, tuple[Any, ...]]:
    """The columns of the rows that have these ids, by id."""
    if not ids:
        return {}
    dialect = session.get_bind().dialect.name
    parameters = {"ids": encoded(dialect, ([i] for i in ids))}
    found = session.connection().execute(_selection(dialect, table, columns), parameters)  # type: ignore[arg-type]  # classes are hashable
    return {row[0]: tuple(row[1:]) for row in found}


@cache
def _selection(dialect: str, table: type[Any], columns: tuple[Any, ...]) -> sa.Select[Any]:
    ids = row_set(dialect, "ids", {"id": sa.Uuid()})
    return sa.select(table.id, *columns).join(ids, ids.c.id == table.id)


def _lock_users(session: Session, user_ids: set[UUID], wait: bool) -> dict[UUID, _LockedUser]:
    """Lock the users in order of id, and read them under the lock."""
    dialect = session.get_bind().dialect.name
    found = session.execute(_locking(dialect, wait), {"ids": encoded(dialect, ([i] for i in user_ids))})
    return {row[0]: _LockedUser(row[0], row[1], row[2], due=DueState(*row[3:])) for row in found}


@cache
def _locking(dialect: str, wait: bool) -> sa.Select[Any]:
    ids = row_set(dialect, "ids", {"id": sa.Uuid()})
    return (
        sa.select(UserRow.id, UserRow.application, UserRow.feedback_sequence, *DUE_COLUMNS)
        .where(UserRow.id.in_(sa.select(ids.c.id)))
        .order_by(UserRow.id)
        .with_for_update(key_share=True, nowait=not wait)
    )


def _known_events(session: Session, prepared: Sequence[PreparedEvent]) -> KnownEvents:
    """Events that the logs have under the ids that the new ones have or refer to."""
    ids = {(p.event.user_id, p.event.event_id) for p in prepared}
    ids |= {(p.event.user_id, p.event.retracts_event_id) for p in prepared if p.event.retracts_event_id}
    dialect = session.get_bind().dialect.name
    rows = session.execute(_known(dialect), {"ids": encoded(dialect, ids)})
    return {(user_id, event_id): (sequence, digest, kind) for user_id, event_id, sequence, digest, kind in rows}


@cache
def _known(dialect: str) -> sa.Select[*tuple[Any, ...]]:
    ids = row_set(dialect, "ids", {"user_id": sa.Uuid(), "event_id": sa.String()})
    row = FeedbackRow
    return sa.select(row.user_id, row.event_id, row.sequence, row.body_digest, row.kind).join(
        ids, sa.and_(ids.c.user_id == row.user_id, ids.c.event_id == row.event_id)
    )


def _insert(session: Session, rows: list[dict[str, Any]]) -> None:
    session.connection().execute(sa.insert(cast(sa.Table, FeedbackRow.__table__)), rows)


def _write_users(session: Session, users: list[_LockedUser], settings: Settings) -> None:
    """Write the users' counters and due times. Enqueue those who are due now instead."""
    if not users:
        return
    retracting = scheduling.with_new_retraction(session, [user.id for user in users])
    now = db_now(session)
    due: list[tuple[UUID, str]] = []
    for user in users:
        user.due.decide(now, has_new_retraction=user.id in retracting)
        if user.due.next_due_at is not None and user.due.next_due_at <= now:
            due.append((user.id, user.due.due_reason or DueReason.NEW_FEEDBACK))
            user.due.next_due_at, user.due.due_reason = None, None
    dialect = session.get_bind().dialect.name
    values = [(u.id, u.feedback_sequence, *(getattr(u.due, name) for name in DUE_WRITTEN)) for u in users]
    session.connection().execute(_update(dialect), {"users": encoded(dialect, values)})
    for user in users:  # what the caller has read of the row before is old now
        if (row := session.identity_map.get(identity_key(UserRow, user.id))) is not None:
            set_committed_value(row, "feedback_sequence", user.feedback_sequence)
            for name in DUE_WRITTEN:
                set_committed_value(row, name, getattr(user.due, name))
    if due:
        jobs.enqueue_adaptations(
            session, due, queue=settings.adaptation_queue, max_attempts=settings.max_attempts, now=now
        )


DUE_WRITTEN: Final = ("pending_count", "pending_since", "next_due_at", "due_reason")
WRITTEN_COLUMNS: Final = ("feedback_sequence", *DUE_WRITTEN)


@cache
def _update(dialect: str) -> sa.Update:
    table = cast(sa.Table, UserRow.__table__)
    columns = {name: table.c[name].type for name in ("id", *WRITTEN_COLUMNS)}
    rows = row_set(dialect, "users", columns)
    return sa.update(table).where(table.c.id == rows.c.id).values({name: rows.c[name] for name in WRITTEN_COLUMNS})


class _Allowed:
    """When the daily limit allows a sequence number: a day after the event `max_per_day` before it was received.

    Sequence numbers have no gaps, so this reads as many rows as are posted, however long the log is.
    """

    def __init__(
        self, session: Session, max_per_day: int, num_events: Counter[UUID], users: dict[UUID, _LockedUser]
    ) -> None:
        self._max_per_day = max_per_day
        self._at: dict[tuple[UUID, int], datetime] = {}
        if max_per_day == 0:
            return
        last_of = {user.id: user.feedback_sequence + num_events[user.id] for user in users.values()}
        near = [
            (user.id, user.feedback_sequence + 1 - max_per_day, last_of[user.id] - max_per_day)
            for user in users.values()
            if last_of[user.id] > max_per_day
        ]
        if not near:
            return
        tomorrow = utcnow() + timedelta(days=1)
        # Where the event `max_per_day` before is itself among the posted ones. Numbers begin with 1.
        self._at = {
            (i, sequence + max_per_day): tomorrow
            for i, first, last in near
            for sequence in range(max(first, 1), last + 1)
        }
        dialect = session.get_bind().dialect.name
        rows = session.execute(_received(dialect), {"spans": encoded(dialect, near)})
        self._at |= {(i, sequence + max_per_day): at + timedelta(days=1) for i, sequence, at in rows}

    def check(self, user_id: UUID, sequence: int) -> None:
        """Whether the user may have an event of this number now.

        Raises:
            TooMany: the limit is reached.
        """
        at = self._at.get((user_id, sequence))
        if at is not None and (wait_s := (at - utcnow()).total_seconds()) > 0:
            raise TooMany(
                f"at most {self._max_per_day} new events of one user in 24 hours: try again in {math.ceil(wait_s)} s",
                wait_s,
            )


@cache
def _received(dialect: str) -> sa.Select[*tuple[Any, ...]]:
    spans = row_set(dialect, "spans", {"user_id": sa.Uuid(), "first": sa.Integer(), "last": sa.Integer()})
    return sa.select(FeedbackRow.user_id, FeedbackRow.sequence, FeedbackRow.received_at).join(
        spans,
        sa.and_(
            FeedbackRow.user_id == spans.c.user_id,
            FeedbackRow.sequence >= spans.c.first,
            FeedbackRow.sequence <= spans.c.last,
        ),
    )


def _rejected(event: NewEvent, error: PaaplusError) -> AppendResult:
    # Without its traceback, which would keep the rows of this call alive.
    return AppendResult(event.index, event.event_id, "rejected", error=error.with_traceback(None))


def _prepared(event: NewEvent, source: str, application: str | None, context: _Context) -> PreparedEvent:
    digest = event.body_digest()
    columns: dict[str, Any] = {
        "user_id": event.user_id,
        "event_id": event.event_id,
        "kind": event.kind,
        "payload": event.payload,
        "occurred_at": event.occurred_at,
        "image_id": event.image_id,
        "other_image_id": event.other_image_id,
        "receipt_id": event.receipt_id,
        "body_digest": digest,
        "source": source,
    }
    error = None
    try:
        if event.kind == FeedbackKind.CORRECTION:
            columns["image_id"] = _corrected_image(event, context)
        _check(event, columns["image_id"], context)
    except PaaplusError as raised:
        error = raised.with_traceback(None)
    return PreparedEvent(event, source, application, digest, columns, error)


def _corrected_image(event: NewEvent, context: _Context) -> UUID:
    receipt = context.receipts.get(event.receipt_id) if event.receipt_id else None
    if receipt is None or receipt.user_id != event.user_id:
        raise NotFound(f"receipt {event.receipt_id} of this user does not exist")
    return receipt.image_id


def _check(event: NewEvent, image_id: UUID | None, context: _Context) -> None:
    """Check all but what a retraction retracts, which needs the user's lock.

    Raises:
        InvalidInput: the event contradicts itself.
        NotFound: it names an image that this user does not have.
    """
    if event.kind == FeedbackKind.RETRACTION:
        return
    _check_image(event.user_id, image_id, context)
    if event.kind in RATED_KINDS:
        _check_ratings(event.payload, context.aspects)
    elif event.kind == FeedbackKind.COMPARISON:
        _check_image(event.user_id, event.other_image_id, context)
        if image_id == event.other_image_id:
            raise InvalidInput(f"a comparison needs two images, got {image_id} twice")
        _check_preference(event.payload, context.aspects)
    elif not isinstance(event.payload.get("liked"), bool):
        raise InvalidInput(f"liked must be true or false, got {event.payload.get('liked')!r}")


def _retracted_sequence(event: NewEvent, known: KnownEvents) -> int:
    target = known.get((event.user_id, event.retracts_event_id or ""))
    if target is None:
        raise NotFound(f"event {event.retracts_event_id!r} of this user does not exist")
    if target[2] == FeedbackKind.RETRACTION:
        raise InvalidInput(f"event {event.retracts_event_id!r} is itself a retraction")
    return target[0]


def _check_image(user_id: UUID, image_id: UUID | None, context: _Context) -> None:
    image = context.images.get(image_id) if image_id else None
    application = context.applications.get(user_id)
    if image is None or image.application != application or image.owner_id not in (None, user_id):
        raise NotFound(f"image {image_id} does not exist for this user")


def _check_aspects(names: Any, aspects: frozenset[str] | None, what: str) -> None:
    if not isinstance(names, dict) or not names:
        raise InvalidInput(f"{what} must name at least one aspect, got {names!r}")
    if aspects is not None and (unknown := sorted(set(names) - aspects)):
        raise InvalidInput(f"unknown aspect(s) {unknown}; known: {sorted(aspects)}")


def _check_ratings(payload: dict[str, Any], aspects: frozenset[str] | None) -> None:
    _check_aspects(payload.get("ratings"), aspects, "ratings")
    bounds = payload.get("scale")
    if not isinstance(bounds, dict) or set(bounds) != {"min", "max"}:
        raise InvalidInput(f"scale must be {{min, max}}, got {bounds!r}")
    scale = Scale(bounds["min"], bounds["max"])
    for value in payload["ratings"].values():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidInput(f"a rating must be a finite number, got {value!r}")
        scale.to_score(value)


def _check_preference(payload: dict[str, Any], aspects: frozenset[str] | None) -> None:
    _check_aspects(payload.get("preference"), aspects, "preference")
    for value in payload["preference"].values():
        if value not in PREFERENCES:
            raise InvalidInput(f"a preference must be one of {list(PREFERENCES)}, got {value!r}")
