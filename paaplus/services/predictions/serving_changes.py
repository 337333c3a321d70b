"""What has changed since: reads the log of who is served by something else, which triggers of the database write.

A reader asks in its own transaction, so that what it knows and what it reads are of one moment. All that was committed
before the transaction began is seen, in whatever order numbers and transactions were given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.prepared import Prepared
from paaplus.db.tables import ServingChangeRow

MAX_CHANGES: Final = 2_000  # read one by one; beyond, everything may have changed
KEPT: Final = 100_000  # changes that stay: far more than `MAX_CHANGES`, so nobody goes on where some were deleted
DELETED_AT_ONCE: Final = 5_000


class Position(NamedTuple):
    """A moment of a database. Moments of one database are in order, and equal if the same transactions are visible.

    Args:
        database: is another one after PostgreSQL was started or replaced. On SQLite 0: the log's numbers begin with
            the time, so that those of two databases differ.
        order: of moments.
        mark: what the database is asked with, to tell of changes since.
    """

    database: float
    order: tuple[int, int]
    mark: Any


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed between two moments.

    Args:
        since: what was known; None: nothing.
        position: the moment of this transaction; None: the log is empty, so it proves nothing.
        users: who are served by something else, ids as the driver gives them; None: anybody may be.
    """

    since: Position | None
    position: Position | None
    users: list[Any] | None


_LAST: Final = Prepared(lambda _: sa.select(sa.func.max(ServingChangeRow.number)))
_IS_KNOWN: Final = sa.text("serving_changes.transaction_id > 0")  # as a text: it names a partial index
# PostgreSQL's first transaction that has not begun. Rows of later ones were copied from another server.
_NEXT: Final = sa.cast(sa.cast(sa.func.pg_snapshot_xmax(sa.func.pg_current_snapshot()), sa.Text()), sa.BigInteger())
_BEFORE_ALL: Final = "1:1:"  # a snapshot that saw nothing

More = Callable[[str], Sequence[sa.ScalarSelect[Any]]]  # of a dialect


class ChangesQuery:
    """Asks what changed since a moment, and for some values of the same transaction with the same statement.

    Args:
        more: these values.
    """

    def __init__(self, more: More) -> None:
        self._since = Prepared(lambda dialect: _STATEMENTS[dialect](more(dialect)))
        self._more = Prepared(lambda dialect: sa.select(*more(dialect)))

    def read(self, connection: sa.Connection, since: Position | None, **values: Any) -> tuple[Changes, Sequence[Any]]:
        """What changed since a moment, and the other values.

        Args:
            connection: in a transaction that reads one moment and began after `since` was reached.
            since: None: nothing is known.
            values: parameters of the other values.
        """
        if connection.dialect.name != "sqlite":
            return self._by_snapshot(connection, since, values)
        rows = self._since.rows(connection, known=since.mark, **values) if since is not None else []
        # The last number that is known is there, or the log is another one, or was shortened.
        if since is not None and rows and rows[0][0] == since.mark and len(rows) < MAX_CHANGES + 2:
            last = rows[-1][0]
            position = since if last == since.mark else _numbered(last)
            return Changes(since, position, [row[1] for row in rows[1:]]), rows[0][2:]
        [(number,)] = _LAST.rows(connection)
        [more] = self._more.rows(connection, **values)
        return Changes(since, _numbered(number) if number is not None else None, None), more

    def _by_snapshot(
        self, connection: sa.Connection, since: Position | None, values: dict[str, Any]
    ) -> tuple[Changes, Sequence[Any]]:
        known = since.mark if since is not None else _BEFORE_ALL
        [(snapshot, started_at, oldest, users, *more)] = self._since.rows(connection, known=known, **values)
        if oldest is None:
            return Changes(since, None, None), more
        _, highest, in_progress = snapshot.split(":")
        # With the same `xmax`, transactions that were in progress can only have ended.
        order = int(highest), -(in_progress.count(",") + 1 if in_progress else 0)
        position = Position(started_at, order, snapshot)
        is_whole = (
            since is not None
            and since.database == position.database
            and since.order <= position.order
            and oldest < int(since.mark.partition(":")[0])  # so all that was deleted before it had been seen
            and len(users) <= MAX_CHANGES
        )
        return Changes(since, position, users if is_whole else None), more


def _since_number(more: Sequence[sa.ScalarSelect[Any]]) -> sa.Select[Any]:
    """Changes from a number on, each with the other values."""
    return (
        sa.select(ServingChangeRow.number, ServingChangeRow.user_id, *more)
        .where(ServingChangeRow.number >= sa.bindparam("known", type_=sa.Integer()))
        .order_by(ServingChangeRow.number)
        .limit(MAX_CHANGES + 2)
    )


def _since_snapshot(more: Sequence[sa.ScalarSelect[Any]]) -> sa.Select[Any]:
    """The moment, when the server was started, the oldest transaction of the log, and users of the transactions that a
    snapshot did not see: those before its `xmin` it saw all."""
    known = sa.cast(sa.bindparam("known", type_=sa.Text()), _Snapshot())
    transaction = ServingChangeRow.transaction_id
    was_seen = sa.func.pg_visible_in_snapshot(sa.cast(sa.cast(transaction, sa.Text()), _TransactionId()), known)
    first_unseen = sa.cast(sa.cast(sa.func.pg_snapshot_xmin(known), sa.Text()), sa.BigInteger())
    users = sa.select(ServingChangeRow.user_id).where(
        _IS_KNOWN, transaction >= first_unseen, transaction < _NEXT, sa.not_(was_seen)
    )
    return sa.select(
        sa.cast(sa.func.pg_current_snapshot(), sa.Text()),
        sa.cast(sa.extract("epoch", sa.func.pg_postmaster_start_time()), sa.Double()),
        sa.select(sa.func.min(transaction)).where(_IS_KNOWN).scalar_subquery(),
        sa.func.array(users.limit(MAX_CHANGES + 1).scalar_subquery()),
        *more,
    )


class _Snapshot(sa.types.UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "pg_snapshot"


class _TransactionId(sa.types.UserDefinedType[int]):
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


_STATEMENTS: Final[dict[str, Callable[[Sequence[sa.ScalarSelect[Any]]], sa.Select[Any]]]] = {
    "sqlite": _since_number,
    "postgresql": _since_snapshot,
}


def _numbered(number: int) -> Position:
    return Position(0.0, (number, 0), number)


def shorten(database: Database) -> int:
    """Delete all but the newest changes; returns how many. Several processes may do it at once."""
    is_sqlite = database.engine.dialect.name == "sqlite"
    column = ServingChangeRow.number if is_sqlite else ServingChangeRow.transaction_id  # tells which are older
    query = sa.select(column).where(sa.true() if is_sqlite else _IS_KNOWN).limit(1)
    total = 0
    if not is_sqlite:
        with database.session() as session:
            foreign = sa.delete(ServingChangeRow).where(_IS_KNOWN, column >= _NEXT)
            total += cast(sa.CursorResult[Any], session.execute(foreign)).rowcount
    while True:
        with database.session() as session:
            end = session.execute(query.order_by(column.desc()).offset(KEPT - 1)).scalar_one_or_none()
            if end is None:
                return total
            last = session.execute(query.order_by(column).offset(DELETED_AT_ONCE - 1)).scalar_one_or_none()
            # The oldest first, and whole transactions: where one is left, nothing after it is gone.
            old = column < end if last is None else column <= min(last, end - 1)
            done = cast(sa.CursorResult[Any], session.execute(sa.delete(ServingChangeRow).where(old)))
            if not done.rowcount:
                return total
        total += done.rowcount
