"""How fast feedback is accepted over HTTP, compared with a bare insert into the same table in the same run.

    python benchmarks/ingest.py [--database sqlite|postgresql] [--seconds 3] [--record]

One API process's application, called in this process. Batches of several users and of one, and one event beside W
untrained events of its user. The peer inserts prepared rows of the same kind with the driver's `executemany`, with one
transaction for each batch. `longest_lock_ms`: see the function, in a run of its own. --record keeps the result in
benchmarks/results.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa
from recording import ROOT, record_rows
from starlette.testclient import TestClient

from paaplus.api.app import create_app
from paaplus.db import migrate
from paaplus.db.engine import Database
from paaplus.db.tables import FeedbackRow, ImageRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.tables.governance import KeyScope
from paaplus.db.types import utcnow
from paaplus.ids import new_id
from paaplus.services.users import keys
from paaplus.settings import Settings

APPLICATION, NUM_USERS, NUM_IMAGES = "bench", 1_000, 200
SHAPES = {"100 of 100 users": (100, 100), "1,000 of 1,000 users": (1_000, 1_000), "1,000 of one user": (1_000, 1)}
PAYLOAD = {"ratings": {"beauty": 6}, "scale": {"min": 1, "max": 7}}
RAW_SHAPE = (1_000, 1_000)


@contextmanager
def database_url(kind: str, folder: Path) -> Iterator[str]:
    """A migrated database without rows."""
    if kind == "sqlite":
        url = f"sqlite:///{folder / 'paaplus.db'}"
        migrate.upgrade(url)
        yield url
        return
    sys.path.insert(0, str(ROOT))
    from tests.support import servers

    server = servers.postgres()
    server.start()
    try:
        with servers.new_postgres_database(server.url) as url:
            migrate.upgrade(url)
            yield url
    finally:
        server.close()


def populate(database: Database) -> tuple[list[UUID], list[UUID], str]:
    """Users, images and the token of an application key."""
    with database.session() as session:
        users = [
            UserRow(id=new_id(), application=APPLICATION, external_id=f"u{i}", policy={}, created_at=utcnow())
            for i in range(NUM_USERS)
        ]
        images = [
            ImageRow(
                id=new_id(),
                application=APPLICATION,
                sha256=f"{i:064x}",
                upload_sha256=f"{i:064x}",
                width_px=1,
                height_px=1,
                size_bytes=1,
                media_type="image/png",
                created_at=utcnow(),
            )
            for i in range(NUM_IMAGES)
        ]
        session.add_all([*users, *images])
        token = keys.create(session, name="bench", scope=KeyScope.APPLICATION, application=APPLICATION, actor="b").token
        return [user.id for user in users], [image.id for image in images], token


def measure(kind: str, seconds: float, waiting: list[int]) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as home, database_url(kind, Path(home)) as url:
        settings = Settings(
            home=Path(home), database_url=url, feedback_per_user_per_day=0, feedback_per_key_per_day=0,
            requests_per_minute=0,
        )  # fmt: skip
        database = Database(url)
        users, images, token = populate(database)
        found: list[dict[str, object]] = []
        with TestClient(create_app(settings)) as client:
            client.headers["Authorization"] = f"Bearer {token}"
            for name, (num_events, num_users) in SHAPES.items():
                posted_per_s(client, images, num_events, num_users, 1e-9)
                gather_statistics(database)
                rate, cpu_rate, worst_s = posted_per_s(client, images, num_events, num_users, seconds)
                held_ms = longest_lock_ms(url, lambda: posted_per_s(client, images, num_events, num_users, 1.0))  # noqa: B023  # called at once
                raw = raw_per_s(database, users, images, num_events, num_users, seconds)
                found.append(
                    {"database": kind, "what": name, "events_per_s": rate, "per_cpu_s": cpu_rate,
                     "raw_per_s": raw, "share_of_raw": rate / raw,
                     "slowest_request_ms": 1e3 * worst_s, "longest_lock_ms": held_ms}
                )  # fmt: skip
                show(found[-1])
            for number, count in enumerate(waiting):
                user = NUM_USERS - 1 - number
                fill(database, users[user], images, count)
                gather_statistics(database)
                wall_ms, cpu_ms = one_event_ms(client, images, user, seconds)
                found.append({"database": kind, "what": f"1 event beside {count:,}", "ms": wall_ms, "cpu_ms": cpu_ms})
                show(found[-1])
        database.dispose()
        return found


def gather_statistics(database: Database) -> None:
    """What PostgreSQL does by itself every minute: without, it plans for the empty tables of a moment ago."""
    if database.engine.dialect.name == "postgresql":
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("ANALYZE"))


_numbers = itertools.count()


def event(user: int, images: list[UUID]) -> dict[str, object]:
    number = next(_numbers)
    image = str(images[number % NUM_IMAGES])
    return {"event_id": f"e{number}", "user": f"u{user}", "kind": "rating", "image": image, **PAYLOAD}


def posted_per_s(
    client: TestClient, images: list[UUID], num_events: int, num_users: int, seconds: float
) -> tuple[float, float, float]:
    """Accepted events a second over HTTP and a second of this process's processor time, and the slowest request.

    The first request warms up. On a busy machine only processor time tells what the work costs; a database server's is
    not in it.
    """
    walls: list[float] = []
    cpus: list[float] = []
    while not walls or sum(walls[1:]) < seconds:
        body = json.dumps({"events": [event(n % num_users, images) for n in range(num_events)]})
        clock, cpu = time.perf_counter(), time.process_time()
        answer = client.post("/v1/feedback", content=body, headers={"content-type": "application/json"})
        walls.append(time.perf_counter() - clock)
        cpus.append(time.process_time() - cpu)
        assert answer.json()["accepted"] == num_events, answer.text[:300]
    num = num_events * len(walls[1:])
    return num / sum(walls[1:]), num / sum(cpus[1:]), max(walls[1:])


def longest_lock_ms(url: str, act: Callable[[], object]) -> float | None:
    """The longest time in which another process could not have SQLite's write lock during `act`; None: PostgreSQL.

    That process looks every half millisecond.
    """
    if not url.startswith("sqlite"):
        return None
    probe = subprocess.Popen(
        [sys.executable, "-c", PROBE, url.removeprefix("sqlite:///")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert probe.stdout is not None
    probe.stdout.readline()
    act()
    return float(probe.communicate("end\n")[0])


PROBE = """
import select, sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
print("ready", flush=True)
since, longest_s = None, 0.0
while not select.select([sys.stdin], [], [], 0.0005)[0]:
    try:
        database.execute("BEGIN IMMEDIATE")
        database.execute("ROLLBACK")
        since = None
    except sqlite3.OperationalError:
        since = since or time.perf_counter()
        longest_s = max(longest_s, time.perf_counter() - since)
print(1e3 * longest_s)
"""


def keys_of(user_id: UUID, event_id: str, number: int) -> dict[str, object]:
    """What tells an event from others, in the columns that it has: earlier versions of the code have longer ones."""
    if "event_key" not in FeedbackRow.__table__.c:
        return {"id": new_id(), "body_digest": f"{number:064x}"}
    from paaplus.db.event_keys import event_key

    return {"event_key": event_key(user_id.hex, event_id), "body_digest": number}


def raw_per_s(
    database: Database, users: list[UUID], images: list[UUID], num_events: int, num_users: int, seconds: float
) -> float:
    """Rows a second of `executemany` of the driver. The rows get sequence numbers that the platform does not use."""
    table = FeedbackRow.__table__
    dialect = database.engine.dialect
    mark = "?" if dialect.name == "sqlite" else "%s"
    given_columns = [
        column for column in table.columns if not isinstance(column.type, sa.Integer) or not column.primary_key
    ]
    columns = [column.name for column in given_columns]
    statement = f"INSERT INTO feedback ({', '.join(columns)}) VALUES ({', '.join([mark] * len(columns))})"
    processors = [column.type.dialect_impl(dialect).bind_processor(dialect) for column in given_columns]
    walls: list[float] = []
    while not walls or sum(walls[1:]) < seconds:
        rows = []
        for n in range(num_events):
            number = next(_numbers)
            user_id, event_id = users[n % num_users], f"raw{number}"
            values = {
                "user_id": user_id, "sequence": -number, "event_id": event_id, "kind": FeedbackKind.RATING,
                "image_id": images[number % NUM_IMAGES], "payload": PAYLOAD, "source": "raw", "received_at": utcnow(),
                **keys_of(user_id, event_id, number),
            }  # fmt: skip
            given = [values.get(name) for name in columns]
            rows.append(tuple(p(v) if p and v is not None else v for p, v in zip(processors, given, strict=True)))
        connection = database.engine.raw_connection()
        try:
            cursor = connection.cursor()
            clock = time.perf_counter()
            if dialect.name == "sqlite":
                cursor.execute("BEGIN IMMEDIATE")
            cursor.executemany(statement, rows)
            connection.commit() if dialect.name != "sqlite" else cursor.execute("COMMIT")
            walls.append(time.perf_counter() - clock)
        finally:
            connection.close()
    return num_events * len(walls[1:]) / sum(walls[1:])


def fill(database: Database, user_id: UUID, images: list[UUID], count: int) -> None:
    """Give the user this many untrained events, without HTTP."""
    with database.session() as session:
        user = session.get_one(UserRow, user_id)
        first, user.feedback_sequence = user.feedback_sequence, user.feedback_sequence + count
        if hasattr(user, "pending_count"):
            user.pending_count, user.pending_since = user.pending_count + count, user.pending_since or utcnow()
        rows = [
            {"user_id": user_id, "sequence": first + n + 1, "event_id": f"fill{n}", "kind": FeedbackKind.RATING,
             "image_id": images[n % NUM_IMAGES], "payload": PAYLOAD, "source": "raw", "received_at": utcnow(),
             **keys_of(user_id, f"fill{n}", n)}
            for n in range(count)
        ]  # fmt: skip
        if rows:
            session.execute(sa.insert(FeedbackRow.__table__), rows)


def one_event_ms(client: TestClient, images: list[UUID], user: int, seconds: float) -> tuple[float, float]:
    """Median wall and processor milliseconds of a request with one event."""
    walls, cpus, until = [], [], time.perf_counter() + seconds
    while time.perf_counter() < until or len(walls) < 10:
        body = event(user, images)
        clock, cpu = time.perf_counter(), time.process_time()
        answer = client.post("/v1/feedback", json=body)
        walls.append(time.perf_counter() - clock)
        cpus.append(time.process_time() - cpu)
        assert answer.status_code == 201, answer.text
    return 1e3 * statistics.median(walls), 1e3 * statistics.median(cpus)


def show(row: dict[str, object]) -> None:
    print(" | ".join(f"{value:,.3g}" if isinstance(value, float) else str(value) for value in row.values()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--postgres", action="store_const", const="postgresql", dest="database",
                        help="the same as --database postgresql: a server that the benchmark starts")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--waiting", default="0,10000,100000", help="untrained events beside which one is posted")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    found = measure(options.database, options.seconds, [int(count) for count in options.waiting.split(",")])
    if options.record:
        given = f"--database {options.database} --seconds {options.seconds:g} --waiting {options.waiting}"
        record_rows(f"ingest-{options.database}", f"python benchmarks/ingest.py {given}", found)


if __name__ == "__main__":
    main()
