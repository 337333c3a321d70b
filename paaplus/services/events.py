"""Events: something that happened, written in the transaction in which it happened, with a delivery per webhook.

So nothing is lost when a process is killed, and nothing is told that was not committed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.clock import db_now
from paaplus.db.tables import DeliveryRow, EventRow, UserRow, WebhookRow
from paaplus.db.tables.events import EventKind
from paaplus.db.tables.models import PointerMove
from paaplus.ids import new_id

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
_WEBHOOKS: Final = (
    sa.select(WebhookRow.id, WebhookRow.kinds)
    .where(
        WebhookRow.disabled_at.is_(None),
        sa.or_(WebhookRow.application.is_(None), WebhookRow.application == sa.bindparam("application")),
    )
    .with_for_update(read=True, key_share=True)
)


def write(session: Session, kind: EventKind, user_id: UUID | None, data: dict[str, Any]) -> None:
    """Write one event, and what is to be delivered. The caller must hold the lock of the user, if it has one.

    Args:
        data: JSON, without floats that matter to the bit.
    """
    user = session.get(UserRow, user_id) if user_id is not None else None
    application = user.application if user is not None else ""
    now = db_now(session)
    event = EventRow(
        id=_next_id(session, user_id),
        application=application,
        user_id=user_id,
        kind=kind,
        data=data,
        created_at=now,
    )
    session.add(event)
    session.flush()
    # Locked: a webhook that is deleted meanwhile must not make this transaction fail.
    told = session.execute(_WEBHOOKS, {"application": application}).all()
    deliveries = [
        DeliveryRow(id=new_id(), webhook_id=webhook_id, event_id=event.id, attempts=0, next_at=now)
        for webhook_id, kinds in told
        if kind in kinds
    ]
    if deliveries:
        session.add_all(deliveries)
        session.flush()


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


def _next_id(session: Session, user_id: UUID | None) -> UUID:
    """An id after the user's last one, even if a clock was set back or another host's clock is behind."""
    new = new_id()
    if user_id is None:
        return new
    last = last_id(session, user_id)
    return new if new > last else UUID(int=last.int + 1)
