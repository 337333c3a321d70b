"""Locks: of a user's row, and by name for what has no row.

Transactions on PostgreSQL that wait for each other's rows fail, one after a second. So whoever locks, changes or
deletes rows of several of these in one transaction does it in this order:

1. users, by id. An erasure, and a match, lock an expert before the expert's users.
2. images.
3. what belongs to users who are locked: versions, runs, feedback, due times; then jobs, by id.
4. the head of the audit.

A statement that leaves out what others have locked never waits, so it may lock rows in any order; but what its
transaction locks after it comes after it in this one. A job is claimed, and its lease extended, without its user: such
a transaction locks nothing but jobs. Deleting a user deletes its rows in an order of the database's own: so who
deletes them otherwise holds the user too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Final, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.prepared import Prepared, listed, one_of
from paaplus.db.raw_values import uuid_of
from paaplus.db.tables import UserRow


def lock_name(session: Session, name: str) -> None:
    """Lock a name until the (writing) transaction ends. On SQLite the transaction's write lock does this already."""
    connection = session.connection()  # begins the transaction, and so takes SQLite's write lock
    if connection.dialect.name == "postgresql":
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))


def lock_user(session: Session, user_id: UUID) -> UserRow | None:
    """Lock the user's row until the transaction ends, and read it again; None: no such user.

    The row is read again because what the session read before the lock may be old. The lock does not block inserts of
    rows that refer to the user, such as receipts.
    """
    return session.get(UserRow, user_id, with_for_update={"key_share": True}, populate_existing=True)


def lock_users(session: Session, user_ids: Collection[UUID]) -> dict[UUID, UserRow]:
    """As `lock_user`, for several: those that exist. Locked in the order of ids: no two callers wait for each other."""
    return {user.id: user for user in session.execute(_USERS, {"user_ids": list(user_ids)}).scalars()}


def keep_users(session: Session, user_ids: Collection[UUID]) -> None:
    """Let nobody erase these users until the transaction ends. Everything else that locks them does not wait."""
    session.execute(_KEPT, {"user_ids": list(user_ids)})


class Locked(NamedTuple):
    """Some of a locked user's columns."""

    epoch: int
    feedback_sequence: int


def lock_columns(session: Session, user_ids: Collection[UUID]) -> dict[UUID, Locked]:
    """As `lock_users`, without the rows: some columns of those that exist."""
    session.flush()
    connection = session.connection()
    rows = _COLUMNS.rows(connection, ids=listed(connection, user_ids))
    return {uuid_of(user_id): Locked(*columns) for user_id, *columns in rows}


_COLUMNS: Final = Prepared(
    lambda dialect: (
        sa.select(UserRow.id, UserRow.epoch, UserRow.feedback_sequence)
        .where(UserRow.id.in_(one_of(dialect, "ids", sa.Uuid())))
        .order_by(UserRow.id)
        .with_for_update(key_share=True)
    )
)
_KEPT: Final = (
    sa.select(UserRow.id)
    .where(UserRow.id.in_(sa.bindparam("user_ids", expanding=True)))
    .order_by(UserRow.id)
    .with_for_update(read=True, key_share=True)
)
_USERS: Final = (
    sa.select(UserRow)
    .where(UserRow.id.in_(sa.bindparam("user_ids", expanding=True)))
    .order_by(UserRow.id)
    .with_for_update(key_share=True)
    .execution_options(populate_existing=True)
)
