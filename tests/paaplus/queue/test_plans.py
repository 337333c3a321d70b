"""No statement that workers and schedulers repeat reads all jobs: finished ones are kept for months."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from paaplus.db import prepared
from paaplus.db.engine import Database
from paaplus.db.prepared import driver_cursor
from paaplus.db.tables import JobRow
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.db.types import utcnow
from paaplus.ids import new_id
from paaplus.queue import jobs
from paaplus.queue.jobs import RetryPolicy
from paaplus.services.operations import status
from paaplus.settings import Settings
from tests.support.factories import make_user


class Noted:
    """A cursor of the driver; `note` is told what it executes."""

    def __init__(self, cursor: Any, note: Callable[[str, Any], None]) -> None:
        self._cursor, self._note = cursor, note

    def execute(self, statement: str, parameters: Any) -> None:
        self._note(statement, parameters)
        self._cursor.execute(statement, parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


def plans(database: Database, act: Callable[[], object]) -> list[str]:
    """How the database would execute the statements of an act that name jobs, also those of the driver alone."""
    seen: list[tuple[str, Any]] = []

    def note(statement: str, parameters: Any) -> None:
        if "jobs" in statement and not statement.startswith("INSERT"):
            seen.append((statement, parameters))

    def note_event(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        note(statement, parameters)

    @contextmanager
    def noting(connection: sa.Connection, text: str) -> Iterator[Noted]:
        with driver_cursor(connection, text) as cursor:
            yield Noted(cursor, note)

    event.listen(database.engine, "before_cursor_execute", note_event)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "driver_cursor", noting)
        act()
    event.remove(database.engine, "before_cursor_execute", note_event)
    assert seen
    with database.engine.connect() as connection:
        how = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET enable_seqscan = off")  # a table of few rows is read whole
        return [str(connection.exec_driver_sql(f"{how} {text}", given).all()) for text, given in seen]


def claim(database: Database) -> None:
    with database.session() as session:
        user = make_user(session)
        wanted = [(user.id.hex, "test", user.application)]
        jobs.enqueue_adaptations(session, wanted, queue="cpu", max_attempts=3, now=jobs.db_now(session))
    assert jobs.claim_together(database, worker="w", queues=["cpu"], lease_s=30.0, limit=4)


def tidy(database: Database) -> None:
    with database.session() as session:
        jobs.forgive_clock(session, 30.0)
        jobs.reap(session, RetryPolicy(0.0, 0.0))
        jobs.count_ready(session)


def look(database: Database) -> None:
    with database.read_session() as session:
        status.read(session, Settings())


@pytest.mark.parametrize("act", [claim, tidy, look])
def test_no_statement_reads_all_jobs(database: Database, act: Callable[[Database], None]) -> None:
    for plan in plans(database, lambda: act(database)):
        assert "Seq Scan on jobs" not in plan, plan
        assert "SCAN jobs" not in plan.replace("SCAN jobs USING COVERING INDEX", ""), plan


def test_what_started_of_late_is_found_among_what_has_started(database: Database) -> None:
    """The index has no job that waits, so that none has to be written to it."""
    long_ago = utcnow() - timedelta(days=30)
    finished = {
        "kind": JobKind.ADAPT, "queue": "cpu", "priority": 5, "state": JobState.SUCCEEDED, "reason": "test",
        "payload": {}, "max_attempts": 3, "run_after": long_ago, "created_at": long_ago, "started_at": long_ago,
    }  # fmt: skip
    with database.session() as session:
        rows = [{"id": new_id(), "lock_key": f"adapt:{number}", **finished} for number in range(2_000)]
        session.execute(sa.insert(JobRow), rows)
        if database.engine.dialect.name == "postgresql":
            session.execute(sa.text("ANALYZE"))
    assert "ix_jobs_started" in "; ".join(plans(database, lambda: claim(database)))
    with database.engine.connect() as connection:
        where = {each["name"]: each["dialect_options"] for each in sa.inspect(connection).get_indexes("jobs")}
    kept = where["ix_jobs_started"][f"{database.engine.dialect.name}_where"]
    assert "NOT NULL" in str(kept).upper()
