"""How long a short transaction waits for SQLite's write lock beside processes that take it again and again.

    python benchmarks/lock_waits.py [--processes 1] [--transactions 200] [--record]

Each process holds the lock for 15 ms, as a training's commit on a busy machine, and is away for 2 to 20 ms.
Transactions that begin as the platform's do, and such that begin by SQLite's own `busy_timeout`, take turns.
Milliseconds on the wall. --record keeps the result in benchmarks/results.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from recording import record_rows

from paaplus.db.engine import Database

HELD_S, AWAY_S = 0.015, (0.002, 0.02)


def hold(url: str) -> None:
    """Take the lock again and again, until the process is ended."""
    database, rng = Database(url), random.Random()
    while True:
        with database.session() as session:
            session.execute(sa.text("UPDATE numbers SET n = n + 1"))
            time.sleep(HELD_S)
        time.sleep(rng.uniform(*AWAY_S))


def by_busy_timeout(database: Database) -> float:
    """Seconds until a transaction has begun that waits as SQLite does by itself."""
    connection = database.engine.raw_connection()
    try:
        started = time.perf_counter()
        connection.cursor().execute("BEGIN IMMEDIATE")
        waited_s = time.perf_counter() - started
        connection.rollback()
        return waited_s
    finally:
        connection.close()


def by_looking(database: Database) -> float:
    """Seconds until a transaction of the platform has begun."""
    started = time.perf_counter()
    with database.session() as session:
        session.connection()
        return time.perf_counter() - started


WAYS: dict[str, Callable[[Database], float]] = {"busy_timeout": by_busy_timeout, "looking often": by_looking}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=1, help="that hold the lock in turns")
    parser.add_argument("--transactions", type=int, default=200, help="of each way")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--hold", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hold is not None:
        hold(options.hold)
    waits: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'waits.db'}"
        database = Database(url)
        with database.session() as session:
            session.execute(sa.text("CREATE TABLE numbers (n INTEGER)"))
            session.execute(sa.text("INSERT INTO numbers VALUES (0)"))
        command = [sys.executable, __file__, "--hold", url]
        holders = [subprocess.Popen(command) for _ in range(options.processes)]
        try:
            while by_looking(database) < HELD_S / 2:  # until the others have begun
                time.sleep(0.05)
            for _ in range(options.transactions):
                for way, wait in WAYS.items():
                    waits[way].append(1e3 * wait(database))
                    time.sleep(0.005)
        finally:
            for holder in holders:
                holder.kill()
                holder.wait()
        database.dispose()
    found: list[dict[str, object]] = [
        {"way": way, "p50_ms": float(np.median(ms)), "p99_ms": float(np.quantile(ms, 0.99)), "longest_ms": max(ms)}
        for way, ms in waits.items()
    ]
    for row in found:
        print(row)
    if options.record:
        arguments = f"--processes {options.processes} --transactions {options.transactions}"
        record_rows("lock-waits", f"python benchmarks/lock_waits.py {arguments}", found)


if __name__ == "__main__":
    main()
