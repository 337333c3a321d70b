"""Fill any schema with one valid row in every table, made from the database's own description.

It reads the database and not `paaplus.db.tables`, so that it also fills schemas of old revisions and new tables.
The values survive a round trip, so that rows can be compared before and after a migration.
"""

from __future__ import annotations

import datetime
import re
import secrets
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from paaplus.ids import new_id

VERSION_TABLE = "alembic_version"
_ALLOWED = "allowed"
_reflected: dict[tuple[str, ...], sa.MetaData] = {}  # by schema: tests of migrations meet each a dozen times


def insert_one_row_everywhere(connection: sa.Connection, whole: int = 7) -> None:
    """Insert one row into every table, parents first. Every column gets a value; a reference to itself stays NULL.

    `whole` is the value of whole numbers: another one for each row of a table, since some are unique.
    """
    inserted: dict[str, dict[str, Any]] = {}
    for table in reflect(connection).sorted_tables:
        allowed = table.info[_ALLOWED]
        row = {column.name: _value(column, inserted, allowed.get(column.name), whole) for column in table.columns}
        connection.execute(table.insert(), row)
        inserted[table.name] = row


def all_rows(connection: sa.Connection) -> dict[str, list[dict[str, Any]]]:
    """The content of every table."""
    tables = reflect(connection).sorted_tables
    return {table.name: [dict(row) for row in connection.execute(sa.select(table)).mappings()] for table in tables}


def reflect(connection: sa.Connection) -> sa.MetaData:
    """Every table but Alembic's own, as the database describes it. Not to be changed: what is known is given again."""
    schema = _schema(connection)
    if schema in _reflected:
        return _reflected[schema]
    metadata = sa.MetaData()
    metadata.reflect(connection)
    if VERSION_TABLE in metadata.tables:
        metadata.remove(metadata.tables[VERSION_TABLE])
    for table in metadata.tables.values():
        table.info[_ALLOWED] = _values_that_checks_allow(connection, table)
    if schema:
        _reflected[schema] = metadata
    return metadata


def _schema(connection: sa.Connection) -> tuple[str, ...]:
    """All statements that made the tables of a SQLite database, which reflecting parses; PostgreSQL keeps none."""
    if connection.dialect.name != "sqlite":
        return ()
    made = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name, sql")
    return tuple(made.scalars())


def _values_that_checks_allow(connection: sa.Connection, table: sa.Table) -> dict[str, str]:
    """Per column with a CHECK on an enum, its first value: `kind IN ('rating', ...)`, or PostgreSQL's form of it."""
    checks = [str(check["sqltext"]) for check in sa.inspect(connection).get_check_constraints(table.name)]
    matches = [re.match(r"\W*(\w+).*?'([^']*)'", check, re.DOTALL) for check in checks]
    return {match[1]: match[2] for match in matches if match}


def _value(column: sa.Column[Any], inserted: dict[str, dict[str, Any]], allowed: str | None, whole: int) -> Any:
    for key in column.foreign_keys:
        parent = inserted.get(key.column.table.name)
        return parent[key.column.name] if parent else None
    if allowed is not None:
        return allowed
    kind = dict if isinstance(column.type, sa.JSON) else column.type.python_type
    if kind is str:
        return secrets.token_hex(32)[: getattr(column.type, "length", None) or 64]
    samples: dict[type, Any] = {
        UUID: new_id(),
        bool: True,
        int: whole,
        float: 0.25,
        bytes: b"\x00\xff not text",
        dict: {"nested": [1, None, "ü"]},
        datetime.datetime: datetime.datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=_zone(column)),
    }
    return samples[kind]


def _zone(column: sa.Column[Any]) -> datetime.timezone | None:
    return datetime.UTC if getattr(column.type, "timezone", False) else None
