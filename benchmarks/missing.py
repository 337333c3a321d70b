"""What a worker pays to know which images it extracts next, with few and with many images.

    python benchmarks/missing.py [--images 1000,10000,50000] [--postgres] [--record]

Images are rows without files, an hour old. Wall milliseconds. `plan_ms`: a look-up that puts all images without
features in a fair order. `batch_ms`: what is asked before a batch of 16 images, the mean of the first --batches of a
plan, without the one that makes it. `newcomers_ms`: a look for images that came since, which is made every two seconds.
`all_ms`: all of it for each batch, if a plan is used to its end and a batch takes --batch-s. --record keeps the result
in benchmarks/results.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import statistics
import tempfile
import time
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa
import structlog
from ingest import database_url, gather_statistics, show
from recording import record_rows

from paaplus.db.engine import Database
from paaplus.db.tables import FeaturesRow, ImageRow
from paaplus.db.types import utcnow
from paaplus.ids import id_of
from paaplus.pipelines import extraction_plan
from paaplus.pipelines.extraction_plan import ExtractionPlan

EXTRACTOR, BATCH = "e" * 64, 16


def measure(kind: str, num_images: int, num_batches: int, batch_s: float) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as home, database_url(kind, Path(home)) as url:
        database = Database(url)
        add_images(database, num_images)
        gather_statistics(database)
        plan = ExtractionPlan(EXTRACTOR)
        plan_ms = batch_of(database, plan)
        plain_ms, with_look_ms = [], []
        for number in range(min(num_batches, num_images // BATCH - 1)):
            plan._next_look_s = 0.0 if number % 2 else float("inf")
            (with_look_ms if number % 2 else plain_ms).append(batch_of(database, plan))
        database.dispose()
    batch_ms = statistics.mean(plain_ms)
    newcomers_ms = max(0.0, statistics.mean(with_look_ms) - batch_ms)
    num_of_plan = min(num_images, extraction_plan.PLAN_SIZE) / BATCH
    all_ms = batch_ms + plan_ms / num_of_plan + newcomers_ms * min(1.0, batch_s / extraction_plan.NEWCOMERS_S)
    return {"database": kind, "images": num_images, "plan_ms": plan_ms, "batch_ms": batch_ms,
            "newcomers_ms": newcomers_ms, "all_ms": all_ms}  # fmt: skip


def batch_of(database: Database, plan: ExtractionPlan) -> float:
    """Milliseconds until the next batch is known; then its images get features of no bytes."""
    clock = time.perf_counter()
    with database.read_session() as session:
        batch = plan.next_batch(session, BATCH, ())
    took_ms = 1e3 * (time.perf_counter() - clock)
    assert len(batch) == BATCH
    with database.session() as session:
        session.execute(sa.insert(FeaturesRow.__table__), [features_of(image.id) for image in batch])
    return took_ms


def add_images(database: Database, count: int) -> None:
    hour_ago_ms = int(1e3 * (time.time() - 3600)) - count
    image = {"application": "bench", "width_px": 1, "height_px": 1, "size_bytes": 1, "media_type": "image/png",
             "created_at": utcnow()}  # fmt: skip
    for start in range(0, count, 5_000):
        rows = [
            {"id": id_of(hour_ago_ms + n, secrets.token_bytes(10)), "sha256": f"{n:064x}", "upload_sha256": f"{n:064x}",
             **image}
            for n in range(start, min(start + 5_000, count))
        ]  # fmt: skip
        with database.session() as session:
            session.execute(sa.insert(ImageRow.__table__), rows)


def features_of(image_id: UUID) -> dict[str, object]:
    return {"extractor_digest": EXTRACTOR, "image_id": image_id, "data": b"", "sha256": "0" * 64,
            "created_at": utcnow()}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="1000,10000,50000")
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--batch-s", type=float, default=0.35, help="seconds to extract 16 images")
    parser.add_argument("--postgres", action="store_const", const="postgresql", default="sqlite", dest="database")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    found = []
    for num_images in [int(num) for num in options.images.split(",")]:
        found.append(measure(options.database, num_images, options.batches, options.batch_s))
        show(found[-1])
    if options.record:
        given = f"--images {options.images} --batches {options.batches}" + (
            " --postgres" if options.database == "postgresql" else ""
        )
        record_rows(f"missing-{options.database}", f"python benchmarks/missing.py {given}", found)


if __name__ == "__main__":
    main()
