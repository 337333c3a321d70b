"""Users' due times: when and why they are due for training.

They are written under the lock of the user's row. So a posting, a training and a scan agree on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from paaplus.db.prepared import Prepared, listed, one_of
from paaplus.db.row_sets import encoded, row_set
from paaplus.db.tables import DueRow
from paaplus.db.users import loaded_user


class Due(NamedTuple):
    """`at`: None without a reason, and while a pause keeps the reason."""

    at: datetime | None
    reason: str | None


NOT_DUE: Final = Due(None, None)
_DUE_TIMES: Final = cast(sa.Table, DueRow.__table__)
_COLUMNS: Final = ("user_id", "due_at", "reason")


def write(session: Session, due: Mapping[UUID, Due]) -> None:
    """Write when and why these users are due. Their rows are locked."""
    connection = session.connection()
    if rows := [(user_id, *each) for user_id, each in due.items() if each.reason is not None]:
        _WRITE.rows(connection, due=encoded(connection.dialect.name, rows))
    if not_due := [user_id for user_id, each in due.items() if each.reason is None]:
        _DELETE.rows(connection, ids=listed(connection, not_due))
    for user_id, each in due.items():
        if (user := loaded_user(session, user_id)) is not None:
            set_committed_value(user, "next_due_at", each.at)
            set_committed_value(user, "due_reason", each.reason)


def replacing(dialect: str, rows: sa.Select[tuple[UUID, datetime | None, str]]) -> sa.Insert:
    """The insert of the rows of a query; a user's former row gives way. On SQLite the query has a condition."""
    insert = postgresql.insert(_DUE_TIMES) if dialect == "postgresql" else sqlite.insert(_DUE_TIMES)
    changed = {"due_at": insert.excluded.due_at, "reason": insert.excluded.reason}
    return insert.from_select(_COLUMNS, rows).on_conflict_do_update(index_elements=["user_id"], set_=changed)


def _writing(dialect: str) -> sa.Insert:
    rows = row_set(dialect, "due", {name: _DUE_TIMES.c[name].type for name in _COLUMNS})
    return replacing(dialect, sa.select(rows).where(sa.text("1 = 1")))


_WRITE: Final = Prepared(_writing)
_DELETE: Final = Prepared(
    lambda dialect: sa.delete(_DUE_TIMES).where(_DUE_TIMES.c.user_id.in_(one_of(dialect, "ids", sa.Uuid())))
)
