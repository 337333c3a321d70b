"""Events: something that happened, written in the transaction in which it happened, with a delivery per webhook.

So nothing is lost when a process is killed, and nothing is told that was not committed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

import sqlalchemy as sa
from pydantic_core import to_json
from sqlalchemy.orm import Session

from paaplus.db.bulk_insert import insert_rows
from paaplus.db.clock import db_now
from paaplus.db.prepared import Prepared, listed, one_of
from paaplus.db.raw_values import hex_of
from paaplus.db.row_sets import driver_value
from paaplus.db.tables import DeliveryRow, EventRow, UserRow, WebhookRow
from paaplus.db.tables.events import EventKind
from paaplus.db.tables.models import PointerMove
from paaplus.ids import new_hex_after, new_id

NONE: Final = UUID(int=0)  # before the first event
# Which event each move of the active pointer is; the others change nothing that is served.
MOVES: Final = {
    PointerMove.GATE_PROMOTED: EventKind.ADAPTER_PROMOTED,
    PointerMove.PROMOTED: EventKind.ADAPTER_PROMOTED,
    PointerMove.PINNED: EventKind.ADAPTER_PROMOTED,
    PointerMove.MATCHED: EventKind.ADAPTER_PROMOTED,
    PointerMove.GATE_REFUSED: EventKind.ADAPTER_REFUSED,
    PointerMove.ROLLED_BACK: EventKind.ADAPTER_ROLLED_BACK,
    PointerMove.GATE_RETIRED: EventKind.ADAPTER_ROLLED_BACK,
}

# Built once: to build a statement anew costs more than to execute it.
_LAST_ID: Final = (
    sa.select(EventRow.id).where(EventRow.user_id == sa.bindparam("user_id")).order_by(EventRow.id.desc()).limit(1)
)
_LAST: Final = (
    sa.select(EventRow.id).where(EventRow.user_id == UserRow.id).order_by(EventRow.id.desc()).limit(1).scalar_subquery()
)
_USERS: Final = Prepared(
    lambda dialect: sa.select(UserRow.id, UserRow.application, _LAST).where(
        UserRow.id.in_(one_of(dialect, "ids", sa.Uuid()))
    )
)
_COLUMNS: Final = ("id", "application", "user_id", "kind", "data", "created_at")
_INSERT_DELIVERIES: Final = sa.insert(cast(sa.Table, DeliveryRow.__table__))
_WEBHOOKS: Final = (
    sa.select(WebhookRow.id, WebhookRow.kinds)
    .where(
        WebhookRow.disabled_at.is_(None),
        sa.or_(WebhookRow.application.is_(None), WebhookRow.application == sa.bindparam("application")),
    )
    .with_for_update(read=True, key_share=True)
)


class NewEvent(NamedTuple):
    """An event to be written. `data` is JSON, without floats that matter to the bit."""

    kind: EventKind
    user_id: UUID | None
    data: dict[str, Any]


def write(session: Session, kind: EventKind, user_id: UUID | None, data: dict[str, Any]) -> None:
    """Write one event, and what is to be delivered. The caller must hold the lock of the user, if it has one.

    Args:
        data: JSON, without floats that matter to the bit.
    """
    write_many(session, [NewEvent(kind, user_id, data)])


def write_many(session: Session, new: Sequence[NewEvent]) -> None:
    """As `write`, for several, in this order: two statements for all, and one for each application."""
    if not new:
        return
    session.flush()
    connection, now = session.connection(), db_now(session)
    user_ids = list(dict.fromkeys(event.user_id for event in new if event.user_id is not None))
    found = _USERS.rows(connection, ids=listed(connection, user_ids)) if user_ids else []
    users = {hex_of(user_id): (application, last_id) for user_id, application, last_id in found}
    last = {user: hex_of(last_id) for user, (_, last_id) in users.items() if last_id is not None}
    created_at = driver_value(connection.dialect.name, now)
    rows: list[tuple[str, str, str | None, EventKind, str, str]] = []
    for event in new:
        user = event.user_id.hex if event.user_id is not None else None
        event_id = new_hex_after(last.get(user) if user is not None else None)
        if user is not None:
            last[user] = event_id
        application = users[user][0] if user is not None else ""
        rows.append((event_id, application, user, event.kind, to_json(event.data).decode(), created_at))
    insert_rows(connection, cast(sa.Table, EventRow.__table__), _COLUMNS, rows)
    # Locked: a webhook that is deleted meanwhile must not make this transaction fail.
    applications = sorted({application for _, application, *_ in rows})
    told = {each: connection.execute(_WEBHOOKS, {"application": each}).all() for each in applications}
    deliveries = [
        {"id": new_id(), "webhook_id": webhook_id, "event_id": UUID(event_id), "attempts": 0, "next_at": now}
        for event_id, application, _, kind, *_ in rows
        for webhook_id, kinds in told[application]
        if kind in kinds
    ]
    if deliveries:
        connection.execute(_INSERT_DELIVERIES, deliveries)


def last_id(session: Session, user_id: UUID) -> UUID:
    """The id of the user's last event; `NONE`: there is none."""
    return session.execute(_LAST_ID, {"user_id": user_id}).scalar_one_or_none() or NONE


def after(session: Session, user_id: UUID, event_id: UUID, limit: int) -> list[EventRow]:
    """The user's events after one, oldest first."""
    query = sa.select(EventRow).where(EventRow.user_id == user_id, EventRow.id > event_id)
    return list(session.execute(query.order_by(EventRow.id).limit(limit)).scalars())


def without_newer(session: Session, seen: Collection[tuple[UUID, UUID]]) -> set[tuple[UUID, UUID]]:
    """Of these (user, last seen event) those that nothing has followed, and whose user exists."""
    user_ids = {user_id for user_id, _ in seen}
    newest = dict.fromkeys(session.execute(sa.select(UserRow.id).where(UserRow.id.in_(user_ids))).scalars(), NONE)
    for user_id in newest:
        newest[user_id] = last_id(session, user_id)
    return {(user_id, event_id) for user_id, event_id in seen if user_id in newest and newest[user_id] <= event_id}
