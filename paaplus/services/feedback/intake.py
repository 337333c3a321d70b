"""Append events to users' feedback logs, each at most once, and reject invalid ones."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.locks import lock_user
from paaplus.db.tables import BaseModelRow, FeedbackRow, ImageRow, PredictionReceiptRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.types import utcnow
from paaplus.errors import Conflict, InvalidInput, NotFound, PaaplusError, TooMany
from paaplus.ids import new_id
from paaplus.records import Scale
from paaplus.services import scheduling
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


@dataclass
class _Context:
    """Rows that the events of one call refer to."""

    aspects: frozenset[str] | None
    images: dict[UUID, ImageRow] = field(default_factory=dict)
    receipts: dict[UUID, PredictionReceiptRow] = field(default_factory=dict)


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

    Users are locked in order of id for the rest of the transaction. So sequence numbers have no gaps, and become
    visible in order.

    Args:
        application: the only application whose users may be named; None: any.
        max_per_day: limit of new events of one user in 24 hours; 0: no limit.

    Returns:
        One result per event, in the given order.
    """
    context = _read_context(session, events)
    results: dict[int, AppendResult] = {}
    by_user: dict[UUID, list[NewEvent]] = defaultdict(list)
    for event in events:
        by_user[event.user_id].append(event)
    for user_id in sorted(by_user):
        # Read again under the lock: this session may have read the row before another session changed it.
        user = lock_user(session, user_id)
        if user is None or (application is not None and user.application != application):
            error = NotFound(f"user {user_id} does not exist")
            results.update({e.index: _rejected(e, error) for e in by_user[user_id]})
            continue
        for result in _append_to_log(session, user, by_user[user_id], context, source, max_per_day):
            results[result.index] = result
        scheduling.refresh_due(session, user)
    return [results[event.index] for event in events]


def known_aspects(session: Session) -> frozenset[str] | None:
    """The aspects that feedback may name: those of all base models that are not retired; None: there is none yet."""
    aspects = session.execute(
        sa.select(BaseModelRow.aspects).where(BaseModelRow.retired_at.is_(None)).order_by(BaseModelRow.id.desc())
    ).scalars()
    known = [set(names) for names in aspects]
    return frozenset(set.union(*known)) if known else None


def _read_context(session: Session, events: list[NewEvent]) -> _Context:
    context = _Context(known_aspects(session))
    receipt_ids = {e.receipt_id for e in events if e.receipt_id is not None}
    if receipt_ids:
        receipts = session.execute(sa.select(PredictionReceiptRow).where(PredictionReceiptRow.id.in_(receipt_ids)))
        context.receipts = {row.id: row for row in receipts.scalars()}
    image_ids = {i for e in events for i in (e.image_id, e.other_image_id) if i is not None}
    image_ids |= {r.image_id for r in context.receipts.values()}
    if image_ids:
        images = session.execute(sa.select(ImageRow).where(ImageRow.id.in_(image_ids)))
        context.images = {row.id: row for row in images.scalars()}
    return context


def _append_to_log(
    session: Session, user: UserRow, events: list[NewEvent], context: _Context, source: str, max_per_day: int
) -> list[AppendResult]:
    known = _known_events(session, user.id, events)
    free_at = _sequences_free_at(session, user, len(events), max_per_day)
    results: list[AppendResult] = []
    for event in events:
        digest = event.body_digest()
        earlier = known.get(event.event_id)
        if earlier is not None and earlier[1] == digest:
            results.append(AppendResult(event.index, event.event_id, "duplicate", earlier[0]))
            continue
        try:
            if earlier is not None:
                raise Conflict(f"event_id {event.event_id!r} was used for another event of this user")
            row = _validated_row(user, event, context, known)
            _check_quota(free_at.get(user.feedback_sequence + 1), max_per_day)
        except PaaplusError as error:
            results.append(_rejected(event, error))
            continue
        user.feedback_sequence += 1
        row.id, row.sequence, row.body_digest, row.source = new_id(), user.feedback_sequence, digest, source
        row.received_at = utcnow()
        session.add(row)
        known[event.event_id] = (row.sequence, digest, event.kind)
        results.append(AppendResult(event.index, event.event_id, "accepted", row.sequence))
    return results


def _known_events(session: Session, user_id: UUID, events: list[NewEvent]) -> dict[str, tuple[int, str, FeedbackKind]]:
    """Events that the log has under the ids that the new ones have or refer to: (sequence, body digest, kind)."""
    ids = {e.event_id for e in events} | {e.retracts_event_id for e in events if e.retracts_event_id}
    rows = session.execute(
        sa.select(FeedbackRow.event_id, FeedbackRow.sequence, FeedbackRow.body_digest, FeedbackRow.kind).where(
            FeedbackRow.user_id == user_id, FeedbackRow.event_id.in_(ids)
        )
    )
    return {event_id: (sequence, digest, kind) for event_id, sequence, digest, kind in rows}


def _sequences_free_at(session: Session, user: UserRow, num_events: int, max_per_day: int) -> dict[int, datetime]:
    """When the daily limit allows each of the next sequence numbers: a day after the one `max_per_day` before it.

    Sequence numbers have no gaps, so this reads as many rows as are posted, however long the log is.
    """
    if max_per_day == 0 or user.feedback_sequence + num_events <= max_per_day:
        return {}
    first = user.feedback_sequence + 1 - max_per_day
    rows = session.execute(
        sa.select(FeedbackRow.sequence, FeedbackRow.received_at).where(
            FeedbackRow.user_id == user.id, FeedbackRow.sequence.between(first, first + num_events - 1)
        )
    )
    free_at = {sequence + max_per_day: received_at + timedelta(days=1) for sequence, received_at in rows}
    # For the others, the event `max_per_day` before is itself among the posted ones.
    tomorrow = utcnow() + timedelta(days=1)
    last = user.feedback_sequence
    return dict.fromkeys(range(last + max_per_day + 1, last + num_events + 1), tomorrow) | free_at


def _check_quota(free_at: datetime | None, max_per_day: int) -> None:
    if free_at is not None and (wait_s := (free_at - utcnow()).total_seconds()) > 0:
        raise TooMany(
            f"at most {max_per_day} new events of one user in 24 hours: try again in {math.ceil(wait_s)} s", wait_s
        )


def _rejected(event: NewEvent, error: PaaplusError) -> AppendResult:
    # Without its traceback, which would keep the rows of this call alive.
    return AppendResult(event.index, event.event_id, "rejected", error=error.with_traceback(None))


def _validated_row(
    user: UserRow, event: NewEvent, context: _Context, known: dict[str, tuple[int, str, FeedbackKind]]
) -> FeedbackRow:
    """The row to write, without id, sequence and other fields that `_append_to_log` sets.

    Raises:
        InvalidInput: the event contradicts itself.
        NotFound: it names an image, a receipt or an event that this user does not have.
    """
    row = FeedbackRow(
        user_id=user.id,
        event_id=event.event_id,
        kind=event.kind,
        payload=event.payload,
        occurred_at=event.occurred_at,
        image_id=event.image_id,
        other_image_id=event.other_image_id,
        receipt_id=event.receipt_id,
    )
    if event.kind == FeedbackKind.RETRACTION:
        target = known.get(event.retracts_event_id or "")
        if target is None:
            raise NotFound(f"event {event.retracts_event_id!r} of this user does not exist")
        if target[2] == FeedbackKind.RETRACTION:
            raise InvalidInput(f"event {event.retracts_event_id!r} is itself a retraction")
        row.retracts_sequence = target[0]
        return row
    if event.kind == FeedbackKind.CORRECTION:
        receipt = context.receipts.get(event.receipt_id) if event.receipt_id else None
        if receipt is None or receipt.user_id != user.id:
            raise NotFound(f"receipt {event.receipt_id} of this user does not exist")
        row.image_id = receipt.image_id
    _check_image(user, row.image_id, context)
    if event.kind in RATED_KINDS:
        _check_ratings(event.payload, context.aspects)
    elif event.kind == FeedbackKind.COMPARISON:
        _check_image(user, row.other_image_id, context)
        if row.image_id == row.other_image_id:
            raise InvalidInput(f"a comparison needs two images, got {row.image_id} twice")
        _check_preference(event.payload, context.aspects)
    elif not isinstance(event.payload.get("liked"), bool):
        raise InvalidInput(f"liked must be true or false, got {event.payload.get('liked')!r}")
    return row


def _check_image(user: UserRow, image_id: UUID | None, context: _Context) -> None:
    image = context.images.get(image_id) if image_id else None
    if image is None or image.application != user.application or image.owner_id not in (None, user.id):
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
