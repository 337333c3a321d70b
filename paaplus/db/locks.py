"""Locks: of a user's row, and by name for what no row can be locked for."""

from __future__ import annotations

import hashlib
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import UserRow


def lock_name(session: Session, name: str) -> None:
    """Hold `name` until the (writing) transaction ends: two about one name take turns. On SQLite: hold everything."""
    connection = session.connection()  # begins the transaction, and takes SQLite's only write lock with it
    if connection.dialect.name == "postgresql":
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))


def lock_user(session: Session, user_id: UUID) -> UserRow | None:
    """The user's row as it is now, held until the end of the transaction; None when there is none.

    Read anew even if the session knows the row: what it read before the lock may be old. The lock does not stand in
    the way of rows that only refer to the user, such as receipts.
    """
    return session.get(UserRow, user_id, with_for_update={"key_share": True}, populate_existing=True)
