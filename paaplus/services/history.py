"""The history of a user's active pointer: entries in the order in which they were written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

import sqlalchemy as sa
from pydantic_core import to_json
from sqlalchemy.orm import Session

from paaplus.db.bulk_insert import insert_rows
from paaplus.db.prepared import Prepared, listed, one_of
from paaplus.db.raw_values import hex_of
from paaplus.db.row_sets import driver_value
from paaplus.db.tables import AdapterHistoryRow, AdapterRow, UserRow
from paaplus.db.tables.models import PointerMove
from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput
from paaplus.ids import new_hex_after
from paaplus.texts import trimmed_text

_LAST: Final = (
    sa.select(AdapterHistoryRow.id)
    .where(AdapterHistoryRow.user_id == UserRow.id)
    .order_by(AdapterHistoryRow.user_id.desc(), AdapterHistoryRow.id.desc())  # by id alone, all users' entries are read
    .limit(1)
    .scalar_subquery()
)
_LAST_IDS: Final = Prepared(
    lambda dialect: sa.select(UserRow.id, _LAST).where(UserRow.id.in_(one_of(dialect, "ids", sa.Uuid())))
)
_COLUMNS: Final = (
    "id", "user_id", "move", "from_adapter_id", "to_adapter_id", "actor", "reason", "details", "created_at",
)  # fmt: skip


class Entry(NamedTuple):
    """One entry. `from_id` and `to_id` are of versions."""

    user_id: UUID
    move: PointerMove
    actor: str
    reason: str
    from_id: UUID | None = None
    to_id: UUID | None = None
    details: Mapping[str, Any] = MappingProxyType({})


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
    connection = session.connection()
    now = driver_value(connection.dialect.name, utcnow())
    user_ids = list(dict.fromkeys(entry.user_id for entry in entries))
    found = _LAST_IDS.rows(connection, ids=listed(connection, user_ids))
    last = {hex_of(user_id): hex_of(last_id) if last_id is not None else None for user_id, last_id in found}
    rows = []
    for entry in entries:
        user = entry.user_id.hex
        last[user] = entry_id = new_hex_after(last.get(user))
        from_id, to_id = (each.hex if each is not None else None for each in (entry.from_id, entry.to_id))
        details = to_json(dict(entry.details)).decode()
        rows.append((entry_id, user, entry.move, from_id, to_id, entry.actor, trimmed[entry.reason], details, now))
    insert_rows(connection, cast(sa.Table, AdapterHistoryRow.__table__), _COLUMNS, rows)
