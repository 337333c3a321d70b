"""Bytes of a row in each large table, indexes included, on SQLite with a base model of the shape of `lite2`.

    python benchmarks/sizes.py [--record]

200 simulated users of 40 ratings each are trained once, 50 of them get 100 predictions with receipts, each of which
becomes a row as if a correction named it, on 1,000 images with random features. Bytes are whole pages of the table and
its indexes over the number of rows. --record keeps the result in benchmarks/results.
"""

from __future__ import annotations

import argparse
import logging
import sqlite3
import tempfile
from pathlib import Path

import structlog
from recording import record_rows
from training import Bench

from paaplus.services.predictions import receipts
from paaplus.services.predictions.answers import Target
from paaplus.services.predictions.predict import Predictor
from paaplus.storage.blobs import BlobStore

TABLES = ("feedback", "prediction_receipts", "adapters", "adapter_history", "runs", "jobs", "events", "users",
          "due_times", "features", "images")  # fmt: skip
NUM_USERS, NUM_RATINGS, NUM_SERVED, NUM_IMAGES = 200, 40, 50, 1_000


def measure(home: Path) -> list[dict[str, object]]:
    bench = Bench(home, 16)
    bench.add_images(NUM_IMAGES)
    users = bench.add_users(NUM_USERS)
    for user_id in users:
        bench.rate(user_id, NUM_RATINGS)
    bench.drain()
    predictor = Predictor(bench.database, BlobStore(bench.settings.resolved_storage_url), bench.settings)
    for user_id in users[:NUM_SERVED]:
        items = predictor.answer([Target(user_id, image_id) for image_id in bench.images[:100]]).items
        named = [(user_id, item.receipt) for item in items if item.receipt is not None]
        receipts.keep(bench.database, predictor.signer, named, keep_days=0)
    bench.database.dispose()
    [file] = home.glob("*.db")
    with sqlite3.connect(file) as connection:
        return [row_of(connection, table) for table in TABLES]


def row_of(connection: sqlite3.Connection, table: str) -> dict[str, object]:
    (num_rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    (num_bytes,) = connection.execute(
        "SELECT sum(pgsize) FROM dbstat WHERE name = ? OR name IN (SELECT name FROM sqlite_master WHERE tbl_name = ?)",
        (table, table),
    ).fetchone()
    return {"table": table, "rows": num_rows, "bytes_per_row": round(num_bytes / num_rows) if num_rows else None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as home:
        found = measure(Path(home))
    for row in found:
        print(row)
    if options.record:
        record_rows("sizes", "python benchmarks/sizes.py", found)


if __name__ == "__main__":
    main()
