"""The history of a user's pointer: one line of acts, in the order in which they happened, whatever clocks say."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import AdapterHistoryRow, AdapterRow
from paaplus.db.tables.models import PointerMove
from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput
from paaplus.ids import new_id


def write(
    session: Session,
    user_id: UUID,
    move: PointerMove,
    *,
    actor: str,
    reason: str,
    current: AdapterRow | None = None,
    target: AdapterRow | None = None,
    details: dict[str, Any] | None = None,
) -> None:
    """Write one act. The caller holds the user's lock, so nobody else writes about them now.

    Raises:
        InvalidInput: no reason is given.
    """
    if not reason.strip():
        raise InvalidInput("a reason is needed")
    session.add(
        AdapterHistoryRow(
            id=_next_id(session, user_id),
            user_id=user_id,
            move=move,
            from_adapter_id=current.id if current is not None else None,
            to_adapter_id=target.id if target is not None else None,
            actor=actor,
            reason=reason,
            details=details or {},
            created_at=utcnow(),
        )
    )
    session.flush()


def _next_id(session: Session, user_id: UUID) -> UUID:
    """After the last one: ids tell the order of acts, and a clock may be set back, or be another host's."""
    last = session.execute(
        sa.select(AdapterHistoryRow.id)
        .where(AdapterHistoryRow.user_id == user_id)
        .order_by(AdapterHistoryRow.id.desc())
        .limit(1)
    ).scalar_one_or_none()
    fresh = new_id()
    return fresh if last is None or fresh > last else UUID(int=last.int + 1)
