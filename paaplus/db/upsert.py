"""`INSERT ... ON CONFLICT DO NOTHING` on both databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session


def insert_ignoring_conflicts(session: Session, table: type[Any], rows: list[dict[str, Any]]) -> None:
    """Insert the rows that break no unique constraint; rows that exist already stay as they are."""
    if not rows:
        return
    insert = (sqlite if session.get_bind().dialect.name == "sqlite" else postgresql).insert
    session.execute(insert(table).on_conflict_do_nothing(), rows)
