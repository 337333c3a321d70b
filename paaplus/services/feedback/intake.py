"""Append events to users' feedback logs, each at most once, and reject invalid ones."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, Literal, NamedTuple, cast
from uuid import UUID

import sqlalchemy as sa
from pydantic_core import to_json
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from paaplus.db import due_times
from paaplus.db.bulk_insert import insert_rows
from paaplus.db.due_times import Due
from paaplus.db.event_keys import event_key, short_digest
from paaplus.db.feedback_types import driver_time, exchanged, packed, stored_source
from paaplus.db.index_hints import index_hint
from paaplus.db.prepared import Prepared, as_uuid, listed, one_of
from paaplus.db.raw_values import document_of, hex_of, moment_of
from paaplus.db.row_sets import driver_value, encoded, row_set
from paaplus.db.tables import BaseModelRow, DueRow, FeedbackRow, ImageRow, PredictionReceiptRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.tables.users import DueReason
from paaplus.db.types import in_utc, utcnow
from paaplus.db.users import loaded_user
from paaplus.errors import Conflict, InvalidInput, NotFound, PaaplusError, TooMany
from paaplus.queue import jobs
from paaplus.records import Scale
from paaplus.services import scheduling
from paaplus.services.scheduling import DUE_COLUMNS, PENDING, DueState, due_state
from paaplus.settings import Settings

PREFERENCES = ("first", "second", "tie", "cannot_say")
RATED_KINDS = (FeedbackKind.RATING, FeedbackKind.CORRECTION)


@dataclass(slots=True)  # not frozen: that costs most of making one, and a posting has a thousand
class NewEvent:
    """One event as it was posted, with its references resolved to ids. Nobody changes it."""

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

    def body_digest(self) -> int:
        """Digest of the content: two posts under one `event_id` are the same event if their digests are equal."""
        return self.digest_of(json.dumps(self.payload, sort_keys=True), str(self.image_id))

    def digest_of(self, payload: str, image: str) -> int:
        """`body_digest`, of the payload's JSON with sorted names, and the image's id as a text."""
        retracts = "null" if self.retracts_event_id is None else json.dumps(self.retracts_event_id)
        body = f'["{self.kind.value}", "{image}", "{self.other_image_id}", "{self.receipt_id}", {retracts}, {payload}]'
        return short_digest(body)


@dataclass(slots=True)
class _Payload:
    """A payload as JSON: as it is stored; with sorted names. `rated`: aspects that its ratings were checked with."""

    text: str
    in_order: str
    rated: frozenset[str] | Literal[False] | None = False


def _payload(payload: dict[str, Any]) -> _Payload:
    """Many events have the same payload: few ratings on few scales."""
    key = repr(payload)
    known = _known_payloads.get(key)
    if known is None:
        known = _Payload(json.dumps(packed(payload), separators=(",", ":")), json.dumps(payload, sort_keys=True))
        if len(key) <= MAX_KEPT_LENGTH:
            if len(_known_payloads) >= NUM_KEPT:
                _known_payloads.clear()
            _known_payloads[key] = known
    return known


NUM_KEPT: Final = 4_096  # some 3 MB
MAX_KEPT_LENGTH: Final = 200
_known_payloads: dict[str, _Payload] = {}


@dataclass(slots=True)
class AppendResult:
    """The outcome of one event. `sequence` is its number in the user's log; `error` says why it was rejected."""

    index: int
    event_id: str
    status: Literal["accepted", "duplicate", "rejected"]
    sequence: int | None = None
    error: PaaplusError | None = None


class PreparedEvent(NamedTuple):
    """An event that was checked as far as that needs no lock.

    `user`: the id of its user, as a key. `event_key`, `digest`: see `FeedbackRow`. `values`: of the columns that are
    known, as the driver takes them; `stored_id`: of these, the event's id. `error`: why it is rejected.
    """

    event: NewEvent
    user: str
    application: str | None
    event_key: int
    digest: int
    stored_id: str
    values: tuple[Any, ...]
    error: PaaplusError | None


class _User(NamedTuple):
    """`key`: the id as 32 hexadecimal digits."""

    application: str
    key: str


class _Image(NamedTuple):
    application: str
    owner_id: UUID | None
    key: str

    @property
    def text(self) -> str:
        """The id as it is written: for many, a fifth of what `str` takes."""
        key = self.key
        return f"{key[:8]}-{key[8:12]}-{key[12:16]}-{key[16:20]}-{key[20:]}"


@dataclass(frozen=True, slots=True)
class _Receipt:
    user_id: UUID
    image_id: UUID


@dataclass(frozen=True, slots=True)
class _Context:
    """What the events of one call refer to."""

    aspects: frozenset[str] | None
    users: dict[UUID, _User]
    images: dict[UUID, _Image]
    receipts: dict[UUID, _Receipt]


@dataclass(slots=True)
class _LockedUser:
    """A user's row, locked, with the events that are appended to the user's log."""

    id: UUID
    key: str
    application: str
    feedback_sequence: int
    due: DueState


KnownEvents = dict[tuple[str, str], tuple[int, int, str]]  # by user and stored id: sequence, body digest, kind


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
    session.flush()
    connection = session.connection()
    found = _by_id(connection, _APPLICATIONS, {event.user_id for event in events})
    users = {user_id: of_application for user_id, (of_application,) in found.items()}
    return prepare_each(connection, [(event, source, application) for event in events], users)


def prepare_each(
    connection: sa.Connection, events: Sequence[tuple[NewEvent, str, str | None]], users: Mapping[UUID, str]
) -> list[PreparedEvent]:
    """As `prepare`, for events of several callers: each with its source, and the only application that it may name.

    Args:
        users: the applications of the events' users, as far as these exist; read in this transaction.
    """
    context = _read_context(connection, [event for event, _, _ in events], users)
    dialect = connection.dialect.name
    return [_prepared(event, source, application, context, dialect) for event, source, application in events]


class UsersLocked(Exception):
    """Other transactions have locked these users, or erased them.

    Attributes:
        users: as `PreparedEvent.user` names them.
    """

    def __init__(self, users: set[str]) -> None:
        super().__init__(f"{len(users)} users are locked")
        self.users = users


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
        wait: for users that another transaction has locked.

    Raises:
        UsersLocked: without `wait`, on PostgreSQL: some users are locked, or gone. Nothing was written.
    """
    if not prepared:
        return []
    session.flush()
    connection = session.connection()
    users = _lock_users(connection, {p.user for p in prepared}, wait)
    known, taken, retracting, was_due, db_time = _read_under_lock(connection, prepared)
    allowed_at = _Allowed(session, max_per_day, Counter(p.event.user_id for p in prepared), users.values())
    now = utcnow()
    received_at = driver_time(connection.dialect.name, now)
    results: list[AppendResult] = []
    rows: list[tuple[Any, ...]] = []
    changed: dict[str, _LockedUser] = {}
    for item in prepared:
        event = item.event
        user = users.get(item.user)
        if user is None or item.application not in (None, user.application):
            results.append(_rejected(event, NotFound(f"user {event.user_id} does not exist")))
            continue
        changed[item.user] = user
        earlier = known.get((item.user, item.stored_id))
        if earlier is not None and earlier[1] == item.digest:
            results.append(AppendResult(event.index, event.event_id, "duplicate", earlier[0]))
            continue
        try:
            if earlier is not None:
                raise Conflict(f"event_id {event.event_id!r} was used for another event of this user")
            if item.error is not None:
                raise item.error
            retracted = _retracted_sequence(item, known) if event.kind == FeedbackKind.RETRACTION else None
            allowed_at.check(user.id, user.feedback_sequence + 1)
        except PaaplusError as error:
            results.append(_rejected(event, error))
            continue
        user.feedback_sequence += 1
        user.due.pending_count += 1
        user.due.pending_since = min(user.due.pending_since or now, now)
        key = item.event_key if item.event_key not in taken else None
        taken.add(item.event_key)
        rows.append((*item.values, key, user.feedback_sequence, received_at, retracted))
        known[item.user, item.stored_id] = (user.feedback_sequence, item.digest, event.kind.value)
        results.append(AppendResult(event.index, event.event_id, "accepted", user.feedback_sequence))
    if rows:
        insert_rows(connection, cast(sa.Table, FeedbackRow.__table__), INSERTED_COLUMNS, rows)
    if any(row[-1] is not None for row in rows):  # a retraction
        retracting = scheduling.retracting(connection, [user.id for user in changed.values()])
    _write_users(session, connection, list(changed.values()), was_due, retracting, db_time, settings)
    return results


KNOWN_COLUMNS: Final = (
    "user_id", "event_id", "kind", "image_id", "other_image_id", "receipt_id", "payload", "body_digest", "source",
    "occurred_at",
)  # fmt: skip
INSERTED_COLUMNS: Final = (*KNOWN_COLUMNS, "event_key", "sequence", "received_at", "retracts_sequence")


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
    return _known_aspects(session.connection())


def _known_aspects(connection: sa.Connection) -> frozenset[str] | None:
    known = [set(document_of(names)) for (names,) in _ASPECTS.rows(connection)]
    return frozenset(set.union(*known)) if known else None


_ASPECTS: Final = Prepared(
    lambda _: sa.select(BaseModelRow.aspects).where(BaseModelRow.retired_at.is_(None)).order_by(BaseModelRow.id.desc())
)


def _read_context(connection: sa.Connection, events: list[NewEvent], users: Mapping[UUID, str]) -> _Context:
    receipt_ids = {e.receipt_id for e in events if e.receipt_id is not None}
    receipts = {
        receipt_id: _Receipt(as_uuid(user_id), as_uuid(image_id))
        for receipt_id, (user_id, image_id) in _by_id(connection, _RECEIPTS, receipt_ids).items()
    }
    image_ids = {i for e in events for i in (e.image_id, e.other_image_id) if i is not None}
    image_ids |= {r.image_id for r in receipts.values()}
    images = {
        image_id: _Image(application, as_uuid(owner_id) if owner_id is not None else None, image_id.hex)
        for image_id, (application, owner_id) in _by_id(connection, _IMAGES, image_ids).items()
    }
    return _Context(
        _known_aspects(connection),
        {user_id: _User(application, user_id.hex) for user_id, application in users.items()},
        images,
        receipts,
    )


def _by_id(connection: sa.Connection, statement: Prepared, ids: set[UUID]) -> dict[UUID, tuple[Any, ...]]:
    """The columns of the rows that have these ids, by id, as the driver gives them."""
    if not ids:
        return {}
    return {as_uuid(row[0]): row[1:] for row in statement.rows(connection, ids=listed(connection, ids))}


def _columns_by_id(table: type[Any], *columns: Any) -> Prepared:
    return Prepared(
        lambda dialect: sa.select(table.id, *columns).where(table.id.in_(one_of(dialect, "ids", sa.Uuid())))
    )


_APPLICATIONS: Final = _columns_by_id(UserRow, UserRow.application)
_RECEIPTS: Final = _columns_by_id(PredictionReceiptRow, PredictionReceiptRow.user_id, PredictionReceiptRow.image_id)
_IMAGES: Final = _columns_by_id(ImageRow, ImageRow.application, ImageRow.owner_id)


def _lock_users(connection: sa.Connection, user_keys: set[str], wait: bool) -> dict[str, _LockedUser]:
    """Lock the users in order of id, and read them under the lock."""
    found = (_LOCK if wait else _LOCK_AT_ONCE).rows(connection, ids=listed(connection, user_keys))
    users = {
        (key := hex_of(user_id)): _LockedUser(as_uuid(user_id), key, application, sequence, due_state(due))
        for user_id, application, sequence, *due in found
    }
    if not wait and connection.dialect.name == "postgresql" and (others := user_keys - users.keys()):
        raise UsersLocked(others)
    return users


def _locking(dialect: str, wait: bool) -> sa.Select[Any]:
    return (
        sa.select(UserRow.id, UserRow.application, UserRow.feedback_sequence, *DUE_COLUMNS)
        .where(UserRow.id.in_(one_of(dialect, "ids", sa.Uuid())))
        .order_by(UserRow.id)
        .with_for_update(key_share=True, skip_locked=not wait)
    )


_LOCK: Final = Prepared(lambda dialect: _locking(dialect, wait=True))
_LOCK_AT_ONCE: Final = Prepared(lambda dialect: _locking(dialect, wait=False))


def _read_under_lock(
    connection: sa.Connection, prepared: Sequence[PreparedEvent]
) -> tuple[KnownEvents, set[int], set[UUID], dict[str, Due], datetime]:
    """What is read when the users are locked, in one statement: each is a way to the server and back.

    Returns:
        Events that the logs have under the ids that the new ones have or refer to; those of their keys that events
        have, be it others; users who retract, as `scheduling.retracting` tells; when and why users are due, by
        `_User.key`; the time of the database.
    """
    keys = {p.event_key for p in prepared}
    keys |= {event_key(p.user, p.event.retracts_event_id) for p in prepared if p.event.retracts_event_id}
    users = listed(connection, list({p.event.user_id for p in prepared}))
    known: KnownEvents = {}
    taken: set[int] = set()
    retracting: set[UUID] = set()
    due: dict[str, Due] = {}
    now = utcnow()
    for user_id, event_id, sequence, digest, kind, key, reason, time in _UNDER_LOCK.rows(
        connection, keys=listed(connection, keys), users=users
    ):
        if event_id is not None:
            known[hex_of(user_id), event_id] = (sequence, digest, kind)
            taken.add(key)
        elif reason is not None:
            due[hex_of(user_id)] = Due(moment_of(time), reason)
        elif user_id is not None:
            retracting.add(as_uuid(user_id))
        elif time is not None:
            now = time
    return known, taken, retracting, due, now


def _under_lock(dialect: str) -> sa.CompoundSelect[*tuple[Any, ...]]:
    row, none = FeedbackRow, sa.null()
    clock = sa.func.clock_timestamp() if dialect == "postgresql" else none  # see `db_now`
    known = sa.select(row.user_id, row.event_id, row.sequence, row.body_digest, row.kind, row.event_key, none, none)
    without_key = known.where(row.user_id.in_(one_of(dialect, "users", sa.Uuid())), row.event_key.is_(None))
    retracting = scheduling.users_who_retract(dialect, "users").subquery("retracting")
    due = sa.select(DueRow.user_id, none, none, none, none, none, DueRow.reason, DueRow.due_at)
    return sa.union_all(  # in an order in which PostgreSQL learns each column's type in the first two
        due.where(DueRow.user_id.in_(one_of(dialect, "users", sa.Uuid()))),
        known.where(row.event_key.in_(one_of(dialect, "keys", sa.BigInteger()))),
        without_key.with_hint(row, index_hint("ix_feedback_without_key"), "sqlite"),
        sa.select(retracting.c.id, none, none, none, none, none, none, none),
        sa.select(none, none, none, none, none, none, none, clock),
    )


_UNDER_LOCK: Final = Prepared(_under_lock)


def _write_users(
    session: Session,
    connection: sa.Connection,
    users: list[_LockedUser],
    was_due: Mapping[str, Due],
    retracting: set[UUID],
    now: datetime,
    settings: Settings,
) -> None:
    """Write the users' counters and due times. Enqueue those who are due now instead."""
    if not users:
        return
    due: list[tuple[str, str, str]] = []
    changed: dict[UUID, Due] = {}
    for user in users:
        state, before = user.due, was_due.get(user.key)
        if before is not None:
            state.next_due_at, state.due_reason = before
        state.decide(now, has_new_retraction=user.id in retracting)
        if state.next_due_at is not None and state.next_due_at <= now:
            due.append((user.key, state.due_reason or DueReason.NEW_FEEDBACK, user.application))
            state.next_due_at, state.due_reason = None, None
        if state.due_reason is not None if before is None else before != (state.next_due_at, state.due_reason):
            changed[user.id] = Due(state.next_due_at, state.due_reason)
    dialect = connection.dialect.name
    values = [
        (user.key, user.feedback_sequence, *[driver_value(dialect, getattr(user.due, name)) for name in PENDING])
        for user in users
    ]
    _UPDATE.rows(connection, users=to_json(values).decode())
    for user in users:
        if (row := loaded_user(session, user.id)) is not None:
            set_committed_value(row, "feedback_sequence", user.feedback_sequence)
            for name in PENDING:
                set_committed_value(row, name, getattr(user.due, name))
    due_times.write(session, changed)
    if due:
        jobs.enqueue_adaptations(
            session, due, queue=settings.adaptation_queue, max_attempts=settings.max_attempts, now=now
        )


WRITTEN_COLUMNS: Final = ("feedback_sequence", *PENDING)


def _update(dialect: str) -> sa.Update:
    table = cast(sa.Table, UserRow.__table__)
    columns = {name: table.c[name].type for name in ("id", *WRITTEN_COLUMNS)}
    rows = row_set(dialect, "users", columns)
    return sa.update(table).where(table.c.id == rows.c.id).values({name: rows.c[name] for name in WRITTEN_COLUMNS})


_UPDATE: Final = Prepared(_update)


class _Allowed:
    """When the daily limit allows a sequence number: a day after the event `max_per_day` before it was received.

    Sequence numbers have no gaps, so this reads as many rows as are posted, however long the log is.
    """

    def __init__(
        self, session: Session, max_per_day: int, num_events: Counter[UUID], users: Collection[_LockedUser]
    ) -> None:
        self._max_per_day = max_per_day
        self._at: dict[tuple[UUID, int], datetime] = {}
        if max_per_day == 0:
            return
        last_of = {user.id: user.feedback_sequence + num_events[user.id] for user in users}
        near = [
            (user.id, user.feedback_sequence + 1 - max_per_day, last_of[user.id] - max_per_day)
            for user in users
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
        at = self._at.get((user_id, sequence)) if self._at else None
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


def _prepared(event: NewEvent, source: str, application: str | None, context: _Context, dialect: str) -> PreparedEvent:
    payload, image_id, error = _payload(event.payload), event.image_id, None
    image = context.images.get(image_id) if image_id is not None else None
    digest = event.digest_of(payload.in_order, image.text if image is not None else str(image_id))
    known_user = context.users.get(event.user_id)
    user = known_user.key if known_user is not None else event.user_id.hex
    try:
        if event.kind == FeedbackKind.CORRECTION:
            image_id = _corrected_image(event, context)
            image = context.images.get(image_id)
        _check(event, image_id, payload, context)
    except PaaplusError as raised:
        error = raised.with_traceback(None)
    other, receipt, occurred_at = event.other_image_id, event.receipt_id, event.occurred_at
    stored_id = exchanged(event.event_id)
    values = (
        user,
        stored_id,
        event.kind.value,
        (image.key if image is not None else image_id.hex) if image_id is not None else None,
        other.hex if other is not None else None,
        receipt.hex if receipt is not None else None,
        payload.text,
        digest,
        stored_source(source),
        driver_time(dialect, in_utc(occurred_at)) if occurred_at is not None else None,
    )
    return PreparedEvent(event, user, application, event_key(user, event.event_id), digest, stored_id, values, error)


def _corrected_image(event: NewEvent, context: _Context) -> UUID:
    receipt = context.receipts.get(event.receipt_id) if event.receipt_id else None
    if receipt is None or receipt.user_id != event.user_id:
        raise NotFound(f"receipt {event.receipt_id} of this user does not exist")
    return receipt.image_id


def _check(event: NewEvent, image_id: UUID | None, payload: _Payload, context: _Context) -> None:
    """Check all but what a retraction retracts, which needs the user's lock.

    Raises:
        InvalidInput: the event contradicts itself.
        NotFound: it names an image that this user does not have.
    """
    if event.kind == FeedbackKind.RETRACTION:
        return
    _check_image(event.user_id, image_id, context)
    if event.kind in RATED_KINDS:
        if payload.rated is False or payload.rated != context.aspects:
            _check_ratings(event.payload, context.aspects)
            payload.rated = context.aspects
    elif event.kind == FeedbackKind.COMPARISON:
        _check_image(event.user_id, event.other_image_id, context)
        if image_id == event.other_image_id:
            raise InvalidInput(f"a comparison needs two images, got {image_id} twice")
        _check_preference(event.payload, context.aspects)
    elif not isinstance(event.payload.get("liked"), bool):
        raise InvalidInput(f"liked must be true or false, got {event.payload.get('liked')!r}")


def _retracted_sequence(item: PreparedEvent, known: KnownEvents) -> int:
    event = item.event
    target = known.get((item.user, exchanged(event.retracts_event_id or "")))
    if target is None:
        raise NotFound(f"event {event.retracts_event_id!r} of this user does not exist")
    if target[2] == FeedbackKind.RETRACTION:
        raise InvalidInput(f"event {event.retracts_event_id!r} is itself a retraction")
    return target[0]


def _check_image(user_id: UUID, image_id: UUID | None, context: _Context) -> None:
    image = context.images.get(image_id) if image_id else None
    user = context.users.get(user_id)
    application = user.application if user is not None else None
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
