"""Which index SQLite must read, where it chooses worse: `select.with_hint(Row, index_hint("ix_..."), "sqlite")`.

SQLite prefers a unique index to one that has all that is asked for, and then reads the table's rows too.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler


def index_hint(index: str) -> str:
    """The hint. The statement fails if there is no such index, or if it cannot serve."""
    return f"INDEXED BY {index}"


class HintedCompiler(SQLiteCompiler):
    """SQLAlchemy's, which leaves out hints of tables."""

    def get_from_hint_text(self, table: sa.FromClause, text: str | None) -> str | None:
        """What stands behind the table's name."""
        return text
