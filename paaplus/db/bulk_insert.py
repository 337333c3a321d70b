"""New rows of one table, written by the driver: on PostgreSQL by `COPY`, a few by `INSERT`; `executemany` on SQLite.

SQLAlchemy's own work on a row costs as much as the database's. Values are as `driver_value` gives them, so they can be
made before the transaction that writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any, Final

import sqlalchemy as sa

from paaplus.db.prepared import driver_cursor

FEW: Final = 4  # rows: `COPY` asks the server twice, and costs less for each of many
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def insert_rows(
    connection: sa.Connection, table: sa.Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Insert rows in the connection's transaction. SQLAlchemy's events do not see it.

    Args:
        connection: in a transaction that may write.
        table: their table.
        columns: names of the columns, in the order of the values of a row.
        rows: None, texts, whole numbers and the driver's other values. Thousands of rows are best made one by one:
            kept in a list, each costs the garbage collector as much as to make it.
    """
    named = ", ".join(columns)
    if connection.dialect.name == "sqlite":
        text = f"INSERT INTO {table.name} ({named}) VALUES ({', '.join('?' * len(columns))})"  # nosec B608: names of the schema
        with driver_cursor(connection, text) as cursor:
            cursor.executemany(text, rows)
        return
    rest = iter(rows)
    first = list(islice(rest, FEW + 1))
    if not first:
        return
    if len(first) <= FEW:
        row = f"({', '.join(['%s'] * len(columns))})"
        text = f"INSERT INTO {table.name} ({named}) VALUES {', '.join([row] * len(first))}"  # nosec B608: as above
        with driver_cursor(connection, text) as cursor:
            cursor.execute(text, [value for row in first for value in row])
        return
    text = f"COPY {table.name} ({named}) FROM STDIN"
    with driver_cursor(connection, text) as cursor, cursor.copy(text) as copy:
        copy.write("".join(map(_line, chain(first, rest))))


def _line(row: Sequence[Any]) -> str:
    """A row in PostgreSQL's text format. Few have anything to escape: to look through each value costs most of it."""
    values = ["\\N" if value is None else str(value) for value in row]
    line = "\t".join(values)
    is_plain = (
        line.count("\\") == row.count(None)
        and line.count("\t") == len(values) - 1
        and "\n" not in line
        and "\r" not in line
    )
    if not is_plain:
        line = "\t".join(["\\N" if value is None else str(value).translate(_ESCAPES) for value in row])
    return line + "\n"
