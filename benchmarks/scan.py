"""How long a scan takes that finds many due users among many more, and how long it holds the database each time.

    python benchmarks/scan.py [--database sqlite|postgresql] [--users 100000] [--due 10000] [--record]

The peer inserts as many job rows with the driver's `executemany`, in one transaction, in the same run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
from ingest import database_url, show
from recording import record_rows

from paaplus.db.engine import Database
from paaplus.db.tables import DueRow, JobRow, UserRow
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.db.types import utcnow
from paaplus.ids import new_id
from paaplus.services import scheduling
from paaplus.services.operations.seed import SeedPlan, seed
from paaplus.settings import Settings


def measure(kind: str, num_users: int, num_due: int) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as home, database_url(kind, Path(home)) as url:
        database, settings = Database(url), Settings(home=Path(home), database_url=url)
        add_users(database, num_users)
        found = []
        for turn in range(2):  # the first one warms up
            with database.session() as session:
                session.execute(sa.delete(JobRow))
                due = sa.select(UserRow.id).order_by(UserRow.id).limit(num_due).offset(turn * num_due)
                due = due.add_columns(
                    sa.literal(utcnow() - timedelta(seconds=1), sa.DateTime(timezone=True)), sa.literal("interval")
                )
                session.execute(sa.insert(DueRow).from_select(["user_id", "due_at", "reason"], due))
            clock, cpu = time.perf_counter(), time.process_time()
            report = scheduling.scan(database, settings)
            wall_s, cpu_s = time.perf_counter() - clock, time.process_time() - cpu
            assert report.num_enqueued == num_due, report
        clock = time.perf_counter()
        scheduling.scan(database, settings)
        idle_s = time.perf_counter() - clock
        raw_s = raw_insert_s(database, num_due)
        found.append(
            {"database": kind, "users": num_users, "due": num_due, "scan_ms": 1e3 * wall_s, "cpu_ms": 1e3 * cpu_s,
             "raw_insert_ms": 1e3 * raw_s, "times_raw": wall_s / raw_s, "idle_scan_ms": 1e3 * idle_s}
        )  # fmt: skip
        database.dispose()
        return found


def add_users(database: Database, count: int) -> None:
    seed(database, SeedPlan("bench", count))


def raw_insert_s(database: Database, count: int) -> float:
    """Seconds of the driver for as many rows of the same table, in one transaction."""
    table, dialect = JobRow.__table__, database.engine.dialect
    with database.session() as session:
        session.execute(sa.delete(JobRow))
        users = list(session.execute(sa.select(UserRow.id).limit(count)).scalars())
    now = utcnow()
    rows = []
    processors = [column.type.dialect_impl(dialect).bind_processor(dialect) for column in table.columns]
    for user_id in users:
        values = {
            "id": new_id(), "kind": JobKind.ADAPT, "lock_key": f"adapt:{user_id}", "user_id": user_id, "queue": "cpu",
            "application": "bench",
            "priority": 5, "state": JobState.QUEUED, "reason": "interval", "payload": {}, "attempts": 0,
            "max_attempts": 5, "run_after": now, "progress_done": 0, "progress_total": 0, "created_at": now,
        }  # fmt: skip
        given = [values.get(column.name) for column in table.columns]
        rows.append(tuple(p(v) if p and v is not None else v for p, v in zip(processors, given, strict=True)))
    mark = "?" if dialect.name == "sqlite" else "%s"
    names = ", ".join(column.name for column in table.columns)
    statement = f"INSERT INTO jobs ({names}) VALUES ({', '.join([mark] * len(table.columns))})"
    connection = database.engine.raw_connection()
    try:
        cursor = connection.cursor()
        clock = time.perf_counter()
        if dialect.name == "sqlite":
            cursor.execute("BEGIN IMMEDIATE")
        cursor.executemany(statement, rows)
        cursor.execute("COMMIT") if dialect.name == "sqlite" else connection.commit()
        return time.perf_counter() - clock
    finally:
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--postgres", action="store_const", const="postgresql", dest="database",
                        help="the same as --database postgresql: a server that the benchmark starts")  # fmt: skip
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--due", type=int, default=10_000)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    found = measure(options.database, options.users, options.due)
    for row in found:
        show(row)
    if options.record:
        command = f"python benchmarks/scan.py --database {options.database} --users {options.users}"
        record_rows(f"scan-{options.database}", command, found)


if __name__ == "__main__":
    main()
