"""What it takes to roll back many users at once, and one user until another process serves the earlier version.

    python benchmarks/rollback.py [--users 100000] [--one 20] [--postgres] [--record]

SQLite; --postgres: a PostgreSQL that the script starts. Every user has a version that was trained on 20 ratings and an
active one, of another strategy, that was trained on 10 more, which the rollback excludes. `many` is what
`paaplus adapters rollback-many` does, in this process: seconds, the same beside a dry run, and the longest transaction.
`one`: milliseconds from the call of the service here until an API process on SQLite answers with the earlier version;
asked again and again, median and longest of --one users. --record keeps the result in benchmarks/results.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import numpy as np
import serving
import sqlalchemy as sa
from cohort import simulated_base
from ingest import database_url
from recording import ROOT, record_rows

from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, UserRow
from paaplus.db.tables.models import AdapterState
from paaplus.db.types import utcnow
from paaplus.ids import new_id, sha256_hex
from paaplus.scoring.adapters import TasteVector
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.services.adapters import bulk_rollback, rollbacks
from paaplus.services.adapters.bulk_rollback import BulkReport, Selection
from paaplus.services.operations.seed import SeedPlan, seed
from paaplus.services.registry import base_models
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

APPLICATION, BAD = "rollback", "derpp"
NUM_BEFORE, NUM_SINCE, NUM_IMAGES, AT_ONCE = 20, 10, 100, 2_000


def fill(database: Database, base_id: UUID, base: BaseScorer, num_users: int) -> None:
    """Users with 30 ratings and two versions."""
    seed(database, SeedPlan(APPLICATION, num_users, NUM_BEFORE + NUM_SINCE, NUM_IMAGES))
    one = np.ones(1, np.float32)
    weight_RA = np.full((base.taste_dim, 1), 0.01, np.float32)
    data = TasteVector(base.digest, alpha_A=one, beta_A=0 * one, weight_RA=weight_RA).to_bytes()
    shared = {
        "base_model_id": base_id, "kind": "taste_vector", "digest": sha256_hex(data), "epoch": 0, "num_ratings": 1,
        "size_bytes": len(data), "gate_report": {}, "metrics": {}, "data": data, "learner_state": b"",
        "created_at": utcnow(),
    }  # fmt: skip
    with database.read_session() as session:
        user_ids = list(session.execute(sa.select(UserRow.id).where(UserRow.application == APPLICATION)).scalars())
    for start in range(0, num_users, AT_ONCE):
        rows = []
        for user_id in user_ids[start : start + AT_ONCE]:
            first = new_id()
            rows += [
                {"id": first, "user_id": user_id, "number": 1, "parent_id": None, "strategy": "bayes",
                 "state": AdapterState.RETIRED, "high_water_sequence": NUM_BEFORE, **shared},
                {"id": new_id(), "user_id": user_id, "number": 2, "parent_id": first, "strategy": BAD,
                 "state": AdapterState.ACTIVE, "high_water_sequence": NUM_BEFORE + NUM_SINCE, **shared},
            ]  # fmt: skip
        with database.session() as session:
            session.execute(sa.insert(AdapterRow.__table__), rows)
    with database.session() as session:
        session.execute(sa.update(UserRow).where(UserRow.application == APPLICATION).values(adapter_sequence=2))
        if database.engine.dialect.name == "postgresql":
            session.execute(sa.text("ANALYZE"))  # as PostgreSQL does by itself within a minute


@contextmanager
def timed_transactions(database: Database, found_s: list[float]) -> Iterator[None]:
    """Notes how long each writing transaction takes."""
    session = database.session

    @contextmanager
    def timed(*given: object, **named: object) -> Iterator[object]:
        with session(*given, **named) as opened:
            started = time.perf_counter()
            yield opened
        found_s.append(time.perf_counter() - started)

    database.session = timed  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del database.session  # the method of the class again


def roll_all_back(database: Database, *, dry_run: bool) -> Iterator[BulkReport]:
    selection = Selection(APPLICATION, strategy=BAD)
    return bulk_rollback.roll_back_all(database, selection, actor="bench", reason="bad", dry_run=dry_run)


def many(database: Database, base_id: UUID, base: BaseScorer, num_users: int) -> list[dict[str, object]]:
    fill(database, base_id, base, num_users)
    found: list[dict[str, object]] = []
    for dry_run in (True, False):
        transactions_s: list[float] = []
        num_done = 0
        wall, clock = time.perf_counter(), time.process_time()
        with timed_transactions(database, transactions_s):
            for report in roll_all_back(database, dry_run=dry_run):  # none is kept, as by the command
                assert all(user.error is None and user.to_number == 1 for user in report.users), report.users[0]
                num_done += len(report.users)
        assert num_done == num_users, (num_done, num_users)
        row: dict[str, object] = {
            "what": f"{num_users:,} users" + (", dry run" if dry_run else ""),
            "wall_s": time.perf_counter() - wall,
            "cpu_s": time.process_time() - clock,
            "longest_transaction_ms": 1e3 * max(transactions_s, default=0.0),
        }
        found.append(row)
        serving.show(row)
    return found


def one(num_users: int) -> dict[str, object]:
    """Milliseconds until another process serves the base model again."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        serving.prepare(home)
        database = Database(Settings(home=home).resolved_database_url)
        with serving.served(ROOT, home) as server:
            waits = []
            for number in range(num_users + 1):
                body: dict[str, object] = {"users": [f"u{number}"], "images": [server.images[0]], "receipts": False}
                before = server.ask(body)
                with database.read_session() as session:
                    user_id = session.execute(
                        sa.select(UserRow.id).where(UserRow.external_id == f"u{number}")
                    ).scalar_one()
                started = time.perf_counter()
                with database.session() as session:
                    rollbacks.rollback(session, user_id, to="base", actor="bench", reason="bad")
                while server.ask(body) == before:
                    pass
                waits.append(1e3 * (time.perf_counter() - started))
        database.dispose()
    row: dict[str, object] = {
        "what": "one user, until another process serves it",
        "p50_ms": statistics.median(waits[1:]),  # the first warms up
        "longest_ms": max(waits[1:]),
    }
    serving.show(row)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--one", type=int, default=20)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    kind = "postgresql" if options.postgres else "sqlite"
    with tempfile.TemporaryDirectory() as folder, database_url(kind, Path(folder)) as url:
        database, base = Database(url), simulated_base(serving.TASTE_DIM, features_are_taste=True)
        blobs = BlobStore(Settings(home=Path(folder)).resolved_storage_url)
        with database.session() as session:
            base_id = base_models.register(session, blobs, base, {"extractor": "none"}, {}).id
        found = many(database, base_id, base, options.users)
        database.dispose()
    if options.one and not options.postgres:
        found.append(one(options.one))
    if options.record:
        given = f"--users {options.users} --one {options.one}" + (" --postgres" if options.postgres else "")
        record_rows(f"rollback-{kind}", f"python benchmarks/rollback.py {given}", found)


if __name__ == "__main__":
    main()
