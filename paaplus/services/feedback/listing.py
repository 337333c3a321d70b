"""List events of feedback logs: what the user answered, about which image, and whether it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from paaplus.db.exclusions import of_event
from paaplus.db.tables import ExclusionRow, FeedbackRow, ImageRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.errors import InvalidInput
from paaplus.services.feedback import cursors, exclusions
from paaplus.services.users.keys import Principal
from paaplus.services.users.users import visible_users

Order = Literal["newest", "oldest"]


@dataclass(frozen=True, slots=True)
class EventImage:
    """An image that an event is about."""

    id: UUID
    name: str | None
    external_id: str | None


@dataclass(frozen=True, slots=True)
class ListedEvent:
    """One event. `retracts` is the `event_id` of what a retraction takes back; `excluded`: who ignores the event."""

    row: FeedbackRow
    application: str
    external_id: str  # of the user
    image: EventImage | None
    other_image: EventImage | None
    retracts: str | None
    is_retracted: bool
    excluded: Literal["rollback", "quarantine"] | None
    id: UUID  # as the cursor of a page after it


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Conditions that an event must meet all of; None: no condition. `after_sequence` needs `user_id`."""

    user_id: UUID | None = None
    image_id: UUID | None = None
    kind: FeedbackKind | None = None
    after_sequence: int | None = None


EVERY_EVENT: Final = EventFilter()


def list_events(
    session: Session,
    principal: Principal,
    wanted: EventFilter = EVERY_EVENT,
    *,
    order: Order = "newest",
    limit: int = 100,
    cursor: UUID | None = None,
) -> list[ListedEvent]:
    """Events of the users that this principal may see. Those of one user are in order of sequence.

    Args:
        cursor: `id` of the last event of the page before.

    Raises:
        InvalidInput: the cursor is no event of this list.
    """
    is_newest_first = order == "newest"
    place = FeedbackRow.id if wanted.user_id is None else FeedbackRow.sequence  # the order of one log is its sequence
    image, other = aliased(ImageRow), aliased(ImageRow)
    query = (
        sa.select(
            FeedbackRow,
            UserRow.application,
            UserRow.external_id,
            sa.case((_is_retracted(), True), else_=False),
            *(column for table in (image, other) for column in (table.id, table.name, table.external_id)),
        )
        .join(UserRow, UserRow.id == FeedbackRow.user_id)
        .join(image, image.id == FeedbackRow.image_id, isouter=True)
        .join(other, other.id == FeedbackRow.other_image_id, isouter=True)
        .where(visible_users(principal))
        .order_by(place.desc() if is_newest_first else place.asc())
        .limit(limit)
    )
    if wanted.user_id is not None:
        query = query.where(FeedbackRow.user_id == wanted.user_id)
    if wanted.image_id is not None:
        query = query.where(
            sa.or_(FeedbackRow.image_id == wanted.image_id, FeedbackRow.other_image_id == wanted.image_id)
        )
    if wanted.kind is not None:
        query = query.where(FeedbackRow.kind == wanted.kind)
    if wanted.after_sequence is not None:
        query = query.where(FeedbackRow.sequence > wanted.after_sequence)
    if cursor is not None:
        last = _place_of(session, principal, wanted.user_id, cursor, place)
        query = query.where(place < last if is_newest_first else place > last)
    rows = session.execute(query).all()
    events = [row[0] for row in rows]
    retracts, excluded = _retracted_events(session, events), _excluded(session, events)
    return [
        ListedEvent(
            row=event,
            application=application,
            external_id=external_id,
            image=EventImage(*about[:3]) if about[0] is not None else None,
            other_image=EventImage(*about[3:]) if about[3] is not None else None,
            retracts=retracts.get((event.user_id, event.retracts_sequence)),
            is_retracted=bool(is_retracted),
            excluded=excluded.get(event.id),
            id=cursors.cursor_of(event.id if wanted.user_id is None else event.sequence),
        )
        for event, application, external_id, is_retracted, *about in rows
    ]


def _place_of(session: Session, principal: Principal, user_id: UUID | None, cursor: UUID, place: Any) -> Any:
    """The place of the last event that was seen: its id, or its sequence in one user's log.

    Raises:
        InvalidInput: the cursor is no event of this list, so there would be nothing after it.
    """
    number = cursors.number_of(cursor, cursors.MAX_ID if user_id is None else cursors.MAX_SEQUENCE)
    query = sa.select(place).join(UserRow, UserRow.id == FeedbackRow.user_id)
    query = query.where(place == number, visible_users(principal))
    if user_id is not None:
        query = query.where(FeedbackRow.user_id == user_id)
    if session.execute(query).first() is None:
        raise InvalidInput(f"cursor {cursor} is no event of this list")
    return number


def _is_retracted() -> sa.ColumnElement[bool]:
    retraction = aliased(FeedbackRow)
    return sa.exists().where(
        retraction.user_id == FeedbackRow.user_id,
        retraction.retracts_sequence.is_not(None),
        retraction.retracts_sequence == FeedbackRow.sequence,
    )


def _retracted_events(session: Session, events: list[FeedbackRow]) -> dict[tuple[UUID, int | None], str]:
    """`event_id` by user and sequence, of the events that these retract."""
    sequences = {event.retracts_sequence for event in events if event.retracts_sequence is not None}
    if not sequences:
        return {}
    rows = session.execute(
        sa.select(FeedbackRow.user_id, FeedbackRow.sequence, FeedbackRow.event_id).where(
            FeedbackRow.user_id.in_({event.user_id for event in events}), FeedbackRow.sequence.in_(sequences)
        )
    )
    return {(user_id, sequence): event_id for user_id, sequence, event_id in rows}


def _excluded(session: Session, events: list[FeedbackRow]) -> dict[int, Literal["rollback", "quarantine"]]:
    """Who excludes these events now, by event."""
    rows = session.execute(
        sa.select(FeedbackRow.id, ExclusionRow)
        .join(ExclusionRow, of_event())
        .where(FeedbackRow.id.in_([event.id for event in events]), ExclusionRow.released_at.is_(None))
    )
    return {event_id: exclusions.kind_of(row) for event_id, row in rows}
