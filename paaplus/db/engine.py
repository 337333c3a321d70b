"""Engines and sessions for SQLite (embedded) and PostgreSQL (production)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session, sessionmaker

from paaplus.errors import InvalidInput

Synchronous = Literal["FULL", "NORMAL"]

SQLITE_BUSY_TIMEOUT_MS = 30_000
SQLITE_SCRUB_TIMEOUT_MS = 2_000


def make_engine(url: str, *, synchronous: Synchronous = "NORMAL") -> sa.Engine:
    """An engine for `url`. `synchronous` is SQLite's; PostgreSQL is configured in PostgreSQL.

    On SQLite a transaction takes the write lock when it begins (`BEGIN IMMEDIATE`), unless `read_session` opened it.
    Otherwise a transaction that reads first and then writes could fail at once, whatever the timeout.

    Raises:
        InvalidInput: not a URL of SQLite or PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:  # without its text, which may contain a password
        raise InvalidInput("the database URL cannot be read; it begins with sqlite:/// or postgresql://") from error
    dialect = parsed.get_backend_name()
    if dialect == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(
            parsed,
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
            hide_parameters=True,  # errors are logged, and personal data must not be
        )
        event.listen(engine, "connect", partial(_prepare_sqlite_connection, synchronous=synchronous))
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if dialect == "postgresql":
        return sa.create_engine(
            parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True, pool_size=8, hide_parameters=True
        )
    raise InvalidInput(f"database URL {parsed.render_as_string()!r}: only sqlite and postgresql are supported")


def _prepare_sqlite_connection(connection: Any, _record: Any, *, synchronous: Synchronous) -> None:
    connection.isolation_level = None  # SQLAlchemy, not the driver, begins transactions
    for pragma in (
        "journal_mode=WAL",
        f"synchronous={synchronous}",
        f"busy_timeout={SQLITE_BUSY_TIMEOUT_MS}",
        "foreign_keys=ON",
        "secure_delete=ON",  # overwrite deleted rows, also in free pages
    ):
        connection.execute(f"pragma {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


class Database:
    """One process's access to the database.

    On SQLite, `synchronous="FULL"` makes every commit of this process wait for the disk, so that no power cut undoes
    it. With "NORMAL" a power cut may undo the last commits; it never damages the database.
    """

    def __init__(self, url: str, *, synchronous: Synchronous = "NORMAL") -> None:
        self.engine = make_engine(url, synchronous=synchronous)
        self._write = sessionmaker(self.engine, expire_on_commit=False)
        options: dict[str, Any] = {"read_only": True}
        if self.engine.dialect.name == "postgresql":
            options["isolation_level"] = "REPEATABLE READ"  # one snapshot for all statements, as SQLite always gives
        self._read = sessionmaker(self.engine.execution_options(**options), expire_on_commit=False)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A transaction that commits at the end of the block, or rolls back if it raises."""
        with self._write() as session, session.begin():
            yield session

    @contextmanager
    def read_session(self) -> Iterator[Session]:
        """A read-only transaction: every statement of the block reads the same snapshot. It must not write."""
        with self._read() as session, session.begin():
            yield session

    def scrub(self) -> None:
        """After an erasure: empty SQLite's write-ahead log, which still contains the deleted rows.

        While another process reads, the log may keep them until the next checkpoint.
        """
        if self.engine.dialect.name == "sqlite":
            connection = self.engine.raw_connection()
            try:
                connection.cursor().execute(f"pragma busy_timeout={SQLITE_SCRUB_TIMEOUT_MS}")
                connection.cursor().execute("pragma wal_checkpoint(truncate)")
                connection.cursor().execute(f"pragma busy_timeout={SQLITE_BUSY_TIMEOUT_MS}")
            finally:
                connection.close()

    def dispose(self) -> None:
        self.engine.dispose()
