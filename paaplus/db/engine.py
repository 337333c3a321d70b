"""Engines and sessions for SQLite (embedded) and PostgreSQL (production)."""

from __future__ import annotations

import errno
import math
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, InvalidatePoolError
from sqlalchemy.orm import Session, sessionmaker

from paaplus.db.index_hints import HintedCompiler
from paaplus.db.prepared import driver_cursor
from paaplus.db.raw_values import from_json_text
from paaplus.errors import InvalidInput

SQLITE_BUSY_TIMEOUT_MS = 30_000
SQLITE_SCRUB_TIMEOUT_MS = 2_000
LOCK_LOOK_S = 0.001  # about, between two looks for SQLite's write lock
LOCK_LOOK_MAX_S = 0.005
POOL_TIMEOUT_S = 30.0
TRUSTED_S = 1.0  # a connection to PostgreSQL that was used so lately is not tested before its next use
MAX_IDLE_READERS = 4  # as many requests as work at once


@dataclass(frozen=True, slots=True)
class Waits:
    """How long a process that answers requests waits on PostgreSQL. SQLite has `SQLITE_BUSY_TIMEOUT_MS`.

    A request that waits longer fails, and the caller may try again. Otherwise one locked row would take all
    connections.
    """

    lock_s: float
    statement_s: float
    pool_s: float


def make_engine(url: str, waits: Waits | None = None) -> sa.Engine:
    """An engine for `url`.

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
        engine = sa.create_engine(
            parsed,
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
            hide_parameters=True,  # errors are logged, and personal data must not be
            json_deserializer=from_json_text,
        )
        engine.dialect.statement_compiler = HintedCompiler
        event.listen(engine, "do_connect", _make_sqlite_folder)
        event.listen(engine, "connect", _prepare_sqlite_connection)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if dialect == "postgresql":
        engine = sa.create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_size=8,
            pool_timeout=waits.pool_s if waits is not None else POOL_TIMEOUT_S,
            hide_parameters=True,
            json_deserializer=from_json_text,
        )
        event.listen(engine, "checkin", _note_use)
        event.listen(engine, "checkout", partial(_test_idle, engine.dialect))
        if waits is not None:
            event.listen(engine, "connect", partial(_bound_waits, waits=waits))
        return engine
    raise InvalidInput(f"database URL {parsed.render_as_string()!r}: only sqlite and postgresql are supported")


def _bound_waits(connection: Any, _record: Any, waits: Waits) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = {round(1000 * waits.lock_s)}")
        cursor.execute(f"SET statement_timeout = {round(1000 * waits.statement_s)}")
    connection.commit()


def _note_use(_connection: Any, record: Any) -> None:
    record.info["used_at"] = time.monotonic()


def _test_idle(dialect: sa.Dialect, connection: Any, record: Any, _proxy: Any) -> None:
    """Have a connection replaced that is gone, as SQLAlchemy's `pool_pre_ping`, which asks before every use.

    A statement is a way to the server and back: under load, that is a tenth of what a small transaction waits.
    """
    if time.monotonic() - record.info.get("used_at", math.inf) < TRUSTED_S:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError from error


def is_disk_full(error: BaseException) -> bool:
    """Whether this error of the database, or of the file system, says that there is no room left."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    original = getattr(error, "orig", None)
    return getattr(original, "sqlite_errorname", "") == "SQLITE_FULL" or getattr(original, "sqlstate", "") == "53100"


DAMAGED: Final = "restore your last backup into a new home: PAAPLUS_HOME=NEW_FOLDER paaplus restore BACKUP"


def is_damaged(error: BaseException) -> bool:
    """Whether this error of the database says that SQLite's file is damaged, or is no database at all."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def missing_file(url: str | sa.URL) -> Path | None:
    """The file of a SQLite database that does not exist yet: a connection would make it. None for any other database.

    A command that only reads asks this first, so that it leaves no empty database in the folder where it was called.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        return None
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return None
    file = Path(parsed.database).absolute()
    return None if file.exists() else file


def _make_sqlite_folder(_dialect: Any, _record: Any, arguments: list[Any], _options: dict[str, Any]) -> None:
    if arguments and arguments[0] != ":memory:":
        Path(arguments[0]).parent.mkdir(parents=True, exist_ok=True)


def _prepare_sqlite_connection(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy, not the driver, begins transactions
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # also after a power cut, what was committed is there
        f"busy_timeout={SQLITE_BUSY_TIMEOUT_MS}",
        "foreign_keys=ON",
        "secure_delete=ON",  # overwrite deleted rows, also in free pages
    ):
        connection.execute(f"pragma {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("read_only", False):
        connection.connection.cursor().execute("BEGIN")  # by the driver: it cannot fail, and there are many
    else:
        _take_write_lock(connection)


def _take_write_lock(connection: sa.Connection) -> None:
    """Begin a transaction that writes, within `SQLITE_BUSY_TIMEOUT_MS`.

    SQLite itself would look for the lock after ever longer pauses: a quarter of a second after eleven looks, and every
    tenth of a second from then on. Beside a process that writes often, single transactions would wait for that long.
    """
    statement, started = "BEGIN IMMEDIATE", time.monotonic()
    with driver_cursor(connection, statement) as cursor:
        cursor.execute("pragma busy_timeout=0")
        try:
            while True:
                try:
                    cursor.execute(statement)
                    return
                except sqlite3.OperationalError as error:
                    waited_s = time.monotonic() - started
                    is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                    if not is_busy or 1000 * waited_s > SQLITE_BUSY_TIMEOUT_MS:
                        raise
                time.sleep(min(LOCK_LOOK_MAX_S, LOCK_LOOK_S + waited_s / 100) * random.uniform(0.5, 1.5))  # nosec B311
        finally:
            cursor.execute(f"pragma busy_timeout={SQLITE_BUSY_TIMEOUT_MS}")


class Database:
    """One process's access to the database."""

    def __init__(self, url: str, waits: Waits | None = None) -> None:
        self.engine = make_engine(url, waits)
        self._write = sessionmaker(self.engine, expire_on_commit=False)
        options: dict[str, Any] = {"read_only": True}
        if self.engine.dialect.name == "postgresql":
            options["isolation_level"] = "REPEATABLE READ"  # one snapshot for all statements, as SQLite always gives
        self._readable = self.engine.execution_options(**options)
        self._read = sessionmaker(self._readable, expire_on_commit=False)
        self._idle_readers: list[sa.Connection] = []

    @property
    def file(self) -> Path | None:
        """SQLite's file; None: another database, or one in memory."""
        name = self.engine.url.database
        is_file = self.engine.dialect.name == "sqlite" and name and name != ":memory:"
        return Path(str(name)) if is_file else None

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

    @contextmanager
    def read_connection(self) -> Iterator[sa.Connection]:
        """As `read_session`, without a session's bookkeeping: for what is asked hundreds of times a second.

        On SQLite a few connections are kept for the next call: to take one from the pool costs as much as a statement.
        PostgreSQL's are not: others may need them, and the pool sees those that are gone.
        """
        try:
            connection = self._idle_readers.pop()
        except IndexError:
            connection = self._readable.connect()
        is_kept = False
        try:
            with connection.begin():
                yield connection
            is_kept = self.engine.dialect.name == "sqlite" and len(self._idle_readers) < MAX_IDLE_READERS
        finally:
            if is_kept:
                self._idle_readers.append(connection)
            else:
                connection.close()

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
        while self._idle_readers:
            self._idle_readers.pop().close()
        self.engine.dispose()
