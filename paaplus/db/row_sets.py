"""Many rows in one bound parameter: a JSON text that the database unfolds into a table.

A statement that takes its rows this way has the same text for any number of rows. So it is built and compiled once,
and thousands of rows need one statement.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine


def row_set(dialect: str, parameter: str, columns: dict[str, TypeEngine[Any]]) -> sa.FromClause:
    """A table of the rows that `encoded` wrote.

    Args:
        dialect: "sqlite" or "postgresql".
        parameter: name of the bound parameter that takes the JSON text.
        columns: name and type of each column, in the order of the values of a row.
    """
    if dialect == "sqlite":
        rows = sa.func.json_each(sa.bindparam(parameter, type_=sa.String())).table_valued("value", name=parameter)
        values = [
            sa.type_coerce(sa.func.json_extract(rows.c.value, f"$[{place}]"), kind).label(name)
            for place, (name, kind) in enumerate(columns.items())
        ]
        return sa.select(*values).select_from(rows).subquery(f"{parameter}_rows")
    each = sa.func.json_array_elements(sa.cast(sa.bindparam(parameter, type_=sa.String()), postgresql.JSON()))
    table = each.table_valued("value", name=parameter)
    row = sa.type_coerce(table.c.value, postgresql.JSON())
    values = [sa.cast(row[place].astext, kind).label(name) for place, (name, kind) in enumerate(columns.items())]
    return sa.select(*values).select_from(table).subquery(f"{parameter}_rows")


def encoded(dialect: str, rows: Iterable[Sequence[Any]]) -> str:
    """The JSON text of the rows. Values are None, numbers, booleans, texts, UUIDs or times in UTC."""
    return json.dumps([[driver_value(dialect, value) for value in row] for row in rows])


def driver_value(dialect: str, value: Any) -> Any:
    """A value as the database stores or reads it: ids and times are texts."""
    if isinstance(value, UUID):
        return value.hex  # as SQLite stores it; PostgreSQL reads it too
    if isinstance(value, datetime):
        return sqlite_time(value) if dialect == "sqlite" else value.isoformat()
    return value


@lru_cache(1024)  # a batch has few
def sqlite_time(moment: datetime) -> str:
    """A time in UTC in the format in which SQLAlchemy stores times on SQLite."""
    return moment.replace(tzinfo=None).isoformat(" ", "microseconds")
