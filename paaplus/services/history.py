"""The history of a user's active pointer: entries in the order in which they were written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.bulk_insert import insert_values
from paaplus.db.tables import AdapterHistoryRow, AdapterRow, UserRow
from paaplus.db.tables.models import PointerMove
from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput
from paaplus.ids import new_id
from paaplus.texts import trimmed_text

_LAST: Final = (
    sa.select(AdapterHistoryRow.id)
    .where(AdapterHistoryRow.user_id == UserRow.id)
    .order_by(AdapterHistoryRow.id.desc())
    .limit(1)
    .scalar_subquery()
)
_LAST_IDS: Final = sa.select(UserRow.id, _LAST).where(UserRow.id.in_(sa.bindparam("user_ids", expanding=True)))
_COLUMNS: Final = (
    "id", "user_id", "move", "from_adapter_id", "to_adapter_id", "actor", "reason", "details", "created_at",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One entry. `from_id` and `to_id` are of versions."""

    user_id: UUID
    move: PointerMove
    actor: str
    reason: str
    from_id: UUID | None = None
    to_id: UUID | None = None
    details: dict[str, Any] = field(default_factory=dict)


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
    from_id, to_id = (row.id if row is not None else None for row in (current, target))
    write_many(session, [Entry(user_id, move, actor, reason, from_id, to_id, details or {})])


def write_many(session: Session, entries: Sequence[Entry]) -> None:
    """Write entries of any users, in this order, in two statements. The caller must hold the users' locks.

    Raises:
        InvalidInput: as `write`.
    """
    if not entries:
        return
    trimmed = {reason: trimmed_text(reason, "the reason") for reason in {entry.reason for entry in entries}}
    if not all(trimmed.values()):
        raise InvalidInput("a reason is needed")
    session.flush()
    user_ids = list(dict.fromkeys(entry.user_id for entry in entries))
    last = {row[0]: row[1] for row in session.execute(_LAST_IDS, {"user_ids": user_ids})}
    rows = []
    for entry in entries:
        last[entry.user_id] = entry_id = _after(last.get(entry.user_id))
        rows.append(
            (entry_id, entry.user_id, entry.move.value, entry.from_id, entry.to_id, entry.actor,
             trimmed[entry.reason], json.dumps(entry.details), utcnow())
        )  # fmt: skip
    insert_values(session.connection(), cast(sa.Table, AdapterHistoryRow.__table__), _COLUMNS, rows)


def _after(last: UUID | None) -> UUID:
    """An id after the user's last one, even if a clock was set back or another host's clock is behind."""
    new = new_id()
    return new if last is None or new > last else UUID(int=last.int + 1)
