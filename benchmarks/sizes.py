"""Bytes of a row in each large table, indexes included, with a base model of the shape of `lite2`.

    python benchmarks/sizes.py [--postgres] [--record]

200 simulated users of 40 ratings each are trained once, 50 of them get 100 predictions with receipts, each of which
becomes a row as if a correction named it, on 1,000 images with random features. Bytes are whole pages of the table and
its indexes over the number of rows; of the table alone, and of each index. On SQLite, or with --postgres on a server
that the benchmark starts. --record keeps the result in benchmarks/results.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path

import sqlalchemy as sa
import structlog
from ingest import database_url
from recording import record_rows
from training import Bench

from paaplus.services.predictions import receipts
from paaplus.services.predictions.answers import Target
from paaplus.services.predictions.predict import Predictor
from paaplus.storage.blobs import BlobStore

TABLES = ("feedback", "prediction_receipts", "adapters", "adapter_history", "runs", "jobs", "events", "users",
          "due_times", "features", "images")  # fmt: skip
NUM_USERS, NUM_RATINGS, NUM_SERVED, NUM_IMAGES = 200, 40, 50, 1_000


def measure(home: Path, url: str) -> list[dict[str, object]]:
    bench = Bench(home, 16, database_url=url)
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
    with bench.database.read_session() as session:
        found = [row_of(session.connection(), table) for table in TABLES]
    bench.database.dispose()
    return found


SIZES = {  # of a table and of each of its indexes
    "sqlite": "SELECT name, sum(pgsize) FROM dbstat "
    "WHERE name IN (SELECT name FROM sqlite_master WHERE tbl_name = :table) GROUP BY name",
    "postgresql": "SELECT relname, pg_table_size(oid) FROM pg_class WHERE relname = :table UNION ALL "
    "SELECT CAST(CAST(indexrelid AS regclass) AS text), pg_relation_size(indexrelid) FROM pg_index "
    "WHERE indrelid = (SELECT oid FROM pg_class WHERE relname = :table)",
}


def row_of(connection: sa.Connection, table: str) -> dict[str, object]:
    num_rows = connection.execute(sa.select(sa.func.count()).select_from(sa.table(table))).scalar_one()
    sizes = {
        name: int(size) for name, size in connection.execute(sa.text(SIZES[connection.dialect.name]), {"table": table})
    }
    if not num_rows:
        return {"table": table, "rows": 0, "bytes_per_row": None}
    indexes = {name: round(size / num_rows, 1) for name, size in sorted(sizes.items()) if name != table}
    return {
        "table": table,
        "rows": num_rows,
        "bytes_per_row": round(sum(sizes.values()) / num_rows),
        "of_the_table": round(sizes[table] / num_rows),
        "of_indexes": round(sum(sizes.values()) / num_rows) - round(sizes[table] / num_rows),
        "indexes": indexes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", action="store_true", help="on a server that the benchmark starts")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    kind = "postgresql" if options.postgres else "sqlite"
    with tempfile.TemporaryDirectory() as home, database_url(kind, Path(home)) as url:
        found = measure(Path(home), url)
    for row in found:
        print(row)
    if options.record:
        given = " --postgres" if options.postgres else ""
        record_rows("sizes-postgresql" if options.postgres else "sizes", f"python benchmarks/sizes.py{given}", found)


if __name__ == "__main__":
    main()
