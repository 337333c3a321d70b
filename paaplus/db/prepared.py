"""Statements that are compiled once, and executed by the driver.

SQLAlchemy's own work on a small statement costs several times what the database needs for it. A prepared statement has
none of it: values go to the driver, and come from it, as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, cast
from uuid import UUID

import sqlalchemy as sa
from pydantic_core import to_json
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from paaplus.db.raw_values import uuid_of

FEW_IDS: Final = 16  # fewer are written one by one


class Prepared:
    """One statement, for SQLite and PostgreSQL.

    Args:
        build: makes the statement for a dialect, "sqlite" or "postgresql".
    """

    def __init__(
        self,
        build: Callable[
            [str],
            sa.Select[*tuple[Any, ...]] | sa.CompoundSelect[*tuple[Any, ...]] | sa.Insert | sa.Update | sa.Delete,
        ],
    ) -> None:
        self._build = build
        self._compiled: dict[str, tuple[str, dict[str, Any], list[str] | None]] = {}

    def rows(self, connection: sa.Connection, **values: Any) -> list[Any]:
        """The rows, with values as the driver gives them: see `as_uuid`. None of a statement that changes rows.

        SQLAlchemy's events do not see it.

        Args:
            connection: in a transaction.
            values: of the statement's `bindparam`s, as the driver takes them: see `listed`.
        """
        dialect = connection.dialect
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = self._compile(dialect)
        text, fixed, order = found
        given = {**fixed, **values}
        with driver_cursor(connection, text) as cursor:
            cursor.execute(text, tuple([given[name] for name in order]) if order is not None else given)
            return list(cursor.fetchall()) if cursor.description is not None else []

    def _compile(self, dialect: sa.Dialect) -> tuple[str, dict[str, Any], list[str] | None]:
        """The text, the values that the statement has itself, and the order of parameters if they have no names."""
        compiled = self._build(dialect.name).compile(dialect=dialect)
        assert isinstance(compiled, sa.sql.compiler.SQLCompiler), "a statement that selects"
        fixed = {}
        for name, value in compiled.params.items():
            process = compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)
            fixed[name] = process(value) if process is not None and value is not None else value
        return compiled.string, fixed, compiled.positiontup


class PreparedInsert:
    """An insert of rows of one table, with values as the types of its columns take them.

    Args:
        table: of the schema.
    """

    def __init__(self, table: sa.FromClause) -> None:
        self._table = cast(sa.Table, table)
        self._compiled: dict[tuple[str, frozenset[str]], tuple[str, list[tuple[str, Any]], bool]] = {}

    def insert(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows in the connection's transaction. SQLAlchemy's events do not see it.

        Args:
            connection: in a transaction that may write.
            rows: by names of columns, the same in each; one at least.
        """
        key = connection.dialect.name, frozenset(rows[0])
        if key not in self._compiled:
            self._compiled[key] = self._compile(connection.dialect, list(rows[0]))
        text, columns, by_place = self._compiled[key]
        given: list[Any] = []
        for row in rows:
            values = {name: row[name] if bind is None else bind(row[name]) for name, bind in columns}
            given.append(tuple(values.values()) if by_place else values)
        with driver_cursor(connection, text) as cursor:
            cursor.executemany(text, given)

    def _compile(self, dialect: sa.Dialect, names: list[str]) -> tuple[str, list[tuple[str, Any]], bool]:
        """The text; names of columns, in the text's order, with what makes the driver's values; whether parameters have
        places instead of names."""
        compiled = sa.insert(self._table).compile(dialect=dialect, column_keys=names)
        assert isinstance(compiled, sa.sql.compiler.SQLCompiler), "a statement with parameters"
        assert compiled.params.keys() == set(names), "a column's default is not made here"
        ordered = compiled.positiontup or names
        binds = [self._table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in ordered]
        return compiled.string, list(zip(ordered, binds, strict=True)), compiled.positiontup is not None


@contextmanager
def driver_cursor(connection: sa.Connection, text: str) -> Iterator[Any]:
    """A cursor of the driver in the connection's transaction. Its errors are as SQLAlchemy would tell them, without
    values.

    Args:
        connection: in a transaction.
        text: the statement, for the error.
    """
    dialect, dbapi = connection.dialect, connection.dialect.loaded_dbapi
    fairy = connection.connection
    cursor = fairy.cursor()
    try:
        yield cursor
    except dbapi.Error as error:
        is_gone = dialect.is_disconnect(error, fairy.dbapi_connection, cursor)
        if is_gone:
            connection.invalidate(error)
        raise sa.exc.DBAPIError.instance(
            text, None, error, dbapi.Error, hide_parameters=True, connection_invalidated=is_gone, dialect=dialect
        ) from error
    finally:
        with suppress(dbapi.Error):  # of a connection that is gone
            cursor.close()


def one_of(dialect: str, parameter: str, kind: TypeEngine[Any]) -> sa.Select[Any]:
    """The values of one parameter, which `listed` wrote, as rows: for `column.in_(...)`."""
    if dialect == "sqlite":
        return sa.select(sa.type_coerce(values_of(parameter).c.value, kind))
    return sa.select(sa.func.unnest(sa.bindparam(parameter, type_=postgresql.ARRAY(kind))))


def values_of(parameter: str) -> sa.TableValuedAlias:
    """The values of one parameter, which `listed` wrote, as a table with a column `value`; for SQLite."""
    return sa.func.json_each(sa.bindparam(parameter, type_=sa.String())).table_valued("value", name=parameter)


def listed(connection: sa.Connection, values: Collection[UUID] | Collection[str] | Collection[int]) -> Any:
    """Ids, texts or numbers as one parameter of a prepared statement."""
    given = list(values)
    of_ids, of_texts = bool(given) and isinstance(given[0], UUID), bool(given) and isinstance(given[0], str)
    if of_ids and len(given) < FEW_IDS:
        few = [value.hex for value in given]  # type: ignore[attr-defined]  # they are ids
        return '["' + '","'.join(few) + '"]' if connection.dialect.name == "sqlite" else "{" + ",".join(few) + "}"
    # Pydantic writes many ids in a fifth of the time that `hex` takes. PostgreSQL's driver would look through each.
    text = json.dumps(given) if of_texts else to_json(given).decode()
    if connection.dialect.name != "sqlite":
        return given if of_texts else "{" + text[1:-1] + "}"
    return text.replace("-", "") if of_ids else text


def plain(connection: sa.Connection, value: UUID) -> Any:
    """An id as a parameter of a prepared statement."""
    return value.hex if connection.dialect.name == "sqlite" else value


def as_uuid(value: Any) -> UUID:
    """An id of a row: SQLite gives a text."""
    return uuid_of(value)
