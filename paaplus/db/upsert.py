"""`INSERT ... ON CONFLICT DO NOTHING` on both databases."""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session


def insert_ignoring_conflicts(session: Session, table: type[Any], rows: list[dict[str, Any]]) -> None:
    """Insert the rows that break no unique constraint; rows that exist already stay as they are."""
    if rows:
        session.flush()
        connection = session.connection()
        connection.execute(_insert(connection.dialect.name, table.__table__), rows)


def insert_unless_there(session: Session, table: type[Any], row: dict[str, Any]) -> bool:
    """Insert one row; returns False if that would break a unique constraint."""
    session.flush()
    connection = session.connection()
    return connection.execute(_insert(connection.dialect.name, table.__table__), row).rowcount == 1


@cache
def _insert(dialect: str, table: sa.Table) -> sa.Insert:
    """Of the table itself: a session's own work on an insert costs as much as the insert."""
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    return insert(table).on_conflict_do_nothing()
