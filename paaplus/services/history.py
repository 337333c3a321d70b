"""The history of a user's active pointer: entries in the order in which they were written."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import AdapterHistoryRow, AdapterRow
from paaplus.db.tables.models import PointerMove
from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput
from paaplus.ids import new_id
from paaplus.texts import trimmed_text

_LAST_ID: Final = (
    sa.select(AdapterHistoryRow.id)
    .where(AdapterHistoryRow.user_id == sa.bindparam("user_id"))
    .order_by(AdapterHistoryRow.id.desc())
    .limit(1)
)


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
    """Write one entry. The caller must hold the user's lock.

    Raises:
        InvalidInput: no reason is given, or it has characters that cannot be stored.
    """
    reason = trimmed_text(reason, "the reason")
    if not reason:
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
    """An id after the user's last one, even if a clock was set back or another host's clock is behind."""
    last = session.execute(_LAST_ID, {"user_id": user_id}).scalar_one_or_none()
    new = new_id()
    return new if last is None or new > last else UUID(int=last.int + 1)
