"""Engines and sessions for SQLite (embedded) and PostgreSQL (production)."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session, sessionmaker

from paaplus.db.raw_values import from_json_text
from paaplus.errors import InvalidInput

SQLITE_BUSY_TIMEOUT_MS = 30_000
SQLITE_SCRUB_TIMEOUT_MS = 2_000
POOL_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Waits:
    """How long a process that answers requests waits on PostgreSQL. SQLite has `SQLITE_BUSY_TIMEOUT_MS`.

    In such a process, threads that write to SQLite wait for each other in the process; see `_WriteTurns`.

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
        event.listen(engine, "do_connect", _make_sqlite_folder)
        event.listen(engine, "connect", _prepare_sqlite_connection)
        if waits is not None:
            _WriteTurns(engine)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if dialect == "postgresql":
        engine = sa.create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            pool_size=8,
            pool_timeout=waits.pool_s if waits is not None else POOL_TIMEOUT_S,
            hide_parameters=True,
            json_deserializer=from_json_text,
        )
        if waits is not None:
            event.listen(engine, "connect", partial(_bound_waits, waits=waits))
        return engine
    raise InvalidInput(f"database URL {parsed.render_as_string()!r}: only sqlite and postgresql are supported")


def _bound_waits(connection: Any, _record: Any, waits: Waits) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = {round(1000 * waits.lock_s)}")
        cursor.execute(f"SET statement_timeout = {round(1000 * waits.statement_s)}")
    connection.commit()


def is_disk_full(error: BaseException) -> bool:
    """Whether this error of the database, or of the file system, says that there is no room left."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    original = getattr(error, "orig", None)
    return getattr(original, "sqlite_errorname", "") == "SQLITE_FULL" or getattr(original, "sqlstate", "") == "53100"


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
        connection.exec_driver_sql("BEGIN IMMEDIATE")


class _WriteTurns:
    """One thread of the process after the other begins a transaction that writes to SQLite.

    SQLite itself lets a connection sleep and look again, ever longer: 25 ms and more, when the lock has been free for
    long. From its beginning until the connection is back in the pool, a transaction has the lock of the process.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._lock = threading.Lock()
        self._owner: object = None  # the connection of the driver
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "checkin", self._end)

    def _begin(self, connection: sa.Connection) -> None:
        if connection.get_execution_options().get("read_only", False):
            return
        driver = connection.connection.dbapi_connection
        if self._owner is not driver and self._lock.acquire(timeout=SQLITE_BUSY_TIMEOUT_MS / 1000):
            self._owner = driver

    def _end(self, driver: object, _record: object) -> None:
        if driver is not None and self._owner is driver:
            self._owner = None
            self._lock.release()


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
        """As `read_session`, without a session's bookkeeping: for what is asked hundreds of times a second."""
        with self._readable.connect() as connection, connection.begin():
            yield connection

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
