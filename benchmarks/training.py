"""Processor milliseconds of a training through queue and worker, beside the closed form alone, in the same run.

    python benchmarks/training.py [--users 48] [--claim 16] [--images 1000,10000] [--history 50,1000,5000] [--once]
        [--order] [--record]

A base model of the shape of `lite2` (its blocks of features, fitted on simulated ratings), SQLite, one worker without
Celery, policy `bayes`. First: users with 40 + 40 ratings, more and more images on the platform. Then: one user with
longer and longer histories and 10 new ratings. The first claim warms up and does not count. Images are rated at random,
so that many ratings of a long history replace earlier ones; with --once nobody rates an image twice. Ratings are random
too, and a long history that comes at once looks like a drift, which makes old ratings lighter; with --order ratings
follow an order, and no drift makes them lighter.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
import warnings
from pathlib import Path
from uuid import UUID

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import sqlalchemy as sa
import structlog
import torch
from recording import record_rows

from paaplus import garbage
from paaplus.db import migrate
from paaplus.db.engine import Database
from paaplus.db.tables import FeaturesRow, ImageRow, RunRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.types import utcnow
from paaplus.ids import new_id
from paaplus.models import lite2
from paaplus.models.base_fit import Ratings, fit_base_scorer
from paaplus.pipelines.context import WorkerContext
from paaplus.pipelines.run_jobs import run_next
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.services import scheduling
from paaplus.services.feedback import intake
from paaplus.services.feedback.intake import NewEvent
from paaplus.services.registry import base_models
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

APPLICATION = "bench"


class Bench:
    """A deployment with a base model of lite2's shape, to which images and users are added."""

    def __init__(self, home: Path, claim: int, *, order: bool = False, **settings: str) -> None:
        self.settings = Settings(home=home, claim_size=claim, **settings)  # type: ignore[arg-type]
        migrate.upgrade(self.settings.resolved_database_url)
        self.database = Database(self.settings.resolved_database_url)
        blobs = BlobStore(self.settings.resolved_storage_url)
        self.context = WorkerContext(self.database, blobs, self.settings, worker="bench")
        self.rng = np.random.default_rng(0)
        self.base = base_of_lite2_shape(self.rng)
        self.images: list[UUID] = []
        self.worth: list[float] | None = [] if order else None  # of each image; None: ratings are random
        self.rated_once: dict[UUID, tuple[int, int]] = {}  # a user's first image, and how many from there on
        self.num_rated_once = 0
        with self.database.session() as session:
            base_models.register(session, blobs, self.base, {"extractor": "none"}, {})

    def add_images(self, count: int) -> None:
        """Images until there are `count`, with random features."""
        while len(self.images) < count:
            num = min(2_000, count - len(self.images))
            ids = [new_id() for _ in range(num)]
            features_ID = self.rng.normal(size=(num, self.base.feature_dim)).astype(np.float16)
            digests = [f"{int(n):064x}" for n in self.rng.integers(1, 2**62, size=num)]
            with self.database.session() as session:
                image = {"application": APPLICATION, "width_px": 1, "height_px": 1, "size_bytes": 1,
                         "media_type": "image/png", "created_at": utcnow()}  # fmt: skip
                session.execute(
                    sa.insert(ImageRow.__table__),
                    [{"id": i, "sha256": d, "upload_sha256": d, **image} for i, d in zip(ids, digests, strict=True)],
                )
                session.execute(
                    sa.insert(FeaturesRow.__table__),
                    [self._features(i, f.tobytes()) for i, f in zip(ids, features_ID, strict=True)],
                )
            self.images += ids
            if self.worth is not None:
                self.worth += np.clip(5 + features_ID[:, :5].astype(np.float64).sum(1), 0, 10).tolist()

    def _features(self, image_id: UUID, data: bytes) -> dict[str, object]:
        row = {"extractor_digest": self.base.extractor_digest, "image_id": image_id, "data": data,
               "created_at": utcnow()}  # fmt: skip
        if hasattr(FeaturesRow, "sha256"):
            from paaplus.services.images.features import features_digest

            row["sha256"] = features_digest(self.base.extractor_digest, image_id, data)
        return row

    def add_users(self, count: int, **policy: object) -> list[UUID]:
        with self.database.session() as session:
            rows = [
                UserRow(id=new_id(), application=APPLICATION, external_id=str(new_id()), policy=policy,
                        created_at=utcnow())
                for _ in range(count)
            ]  # fmt: skip
            session.add_all(rows)
        return [row.id for row in rows]

    def rate(self, user_id: UUID, count: int, *, once: bool = False) -> None:
        """Ratings of random images, or of images that the user has not rated."""
        for first in range(0, count, 1_000):
            chosen = [
                self._unrated(user_id) if once else int(self.rng.integers(len(self.images)))
                for _ in range(min(1_000, count - first))
            ]
            events = [
                NewEvent(
                    index=n,
                    user_id=user_id,
                    event_id=str(new_id()),
                    kind=FeedbackKind.RATING,
                    image_id=self.images[image],
                    payload={"ratings": {"beauty": self._rating_of(image)}, "scale": {"min": 0, "max": 10}},
                )
                for n, image in enumerate(chosen)
            ]
            with self.database.session() as session:
                intake.append(session, APPLICATION, events, source="bench", settings=self.settings)

    def _rating_of(self, image: int) -> float:
        if self.worth is None:
            return float(self.rng.uniform(0, 10))
        return float(np.clip(self.worth[image] + self.rng.normal(), 0, 10))

    def _unrated(self, user_id: UUID) -> int:
        """An image that the user has not rated, and nobody else while there are such: no worker has projected it."""
        first, num = self.rated_once.get(user_id, (self.num_rated_once, 0))
        self.rated_once[user_id] = first, num + 1
        self.num_rated_once += 1
        return (first + num) % len(self.images)

    def drain(self) -> tuple[float, int]:
        """Processor seconds and number of the trainings that are due."""
        scheduling.scan(self.database, self.settings)
        clock, num_jobs = time.process_time(), 0
        while num := run_next(self.context, ["cpu"]):
            num_jobs += num
        return time.process_time() - clock, num_jobs

    def parts_ms(self, num: int) -> dict[str, float]:
        """What the latest runs say of their parts (wall time)."""
        with self.database.read_session() as session:
            runs = list(session.execute(sa.select(RunRow.timings).order_by(RunRow.id.desc()).limit(num)).scalars())
        return {
            f"{part}_ms": 1e3 * float(np.mean([run[f"{part}_s"] for run in runs]))
            for part in ("read", "train", "judge")
        }


def base_of_lite2_shape(rng: np.random.Generator) -> BaseScorer:
    """A base model fitted on random features of lite2's blocks and on ratings of 12 simulated people."""
    extractor = lite2.build(device="cpu")
    features_ID = rng.normal(size=(300, extractor.feature_dim)).astype(np.float32)
    person_N, image_N = np.divmod(np.arange(12 * 300), 300)
    score_N1 = np.clip(5 + features_ID[image_N, :5].sum(1) + rng.normal(size=len(image_N)), 0, 10)[:, None]
    ratings = Ratings(("beauty",), person_N, image_N, score_N1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit_base_scorer("lite2", "e" * 64, features_ID, ratings, blocks=extractor.blocks)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=48)
    parser.add_argument("--claim", type=int, default=16)
    parser.add_argument("--images", default="1000,10000")
    parser.add_argument("--history", default="50,1000,5000")
    parser.add_argument("--once", action="store_true", help="nobody rates an image twice")
    parser.add_argument("--order", action="store_true", help="ratings follow an order and keep their weight")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    found: list[dict[str, object]] = []
    policy = {"drift": {"recency_half_life": 0}} if options.order else {}
    with tempfile.TemporaryDirectory() as home:
        bench = Bench(Path(home), options.claim, order=options.order)
        print(f"features {bench.base.feature_dim}, taste {bench.base.taste_dim}", flush=True)
        bench.add_images(400)
        bench.rate(bench.add_users(1)[0], 40)
        bench.drain()  # warms up
        garbage.leave_out_what_is_there()  # as a worker does when it starts
        for num_images in [int(num) for num in options.images.split(",")]:
            bench.add_images(num_images)
            users = bench.add_users(options.users, **policy)
            for _turn in range(2):
                for user in users:
                    bench.rate(user, 40, once=options.once)
                seconds, num_jobs = bench.drain()
                assert num_jobs >= options.users, num_jobs
            row = {"what": f"{num_images:,} images", "cpu_ms_per_user": 1e3 * seconds / num_jobs}
            found.append({**row, **bench.parts_ms(options.users)})
            print(found[-1], flush=True)
        for length in [int(num) for num in options.history.split(",")]:
            [user] = bench.add_users(1, **policy)
            bench.rate(user, length, once=options.once)
            bench.drain()
            bench.rate(user, 10, once=options.once)
            seconds, _ = bench.drain()
            found.append({"what": f"history {length:,}", "cpu_ms_per_user": 1e3 * seconds, **bench.parts_ms(1)})
            print(found[-1], flush=True)
        bench.database.dispose()
    if options.record:
        given = f"--users {options.users} --claim {options.claim} --images {options.images} --history {options.history}"
        given += (" --once" if options.once else "") + (" --order" if options.order else "")
        name = "training" + ("-alone" if options.claim == 1 else "") + ("-once" if options.once else "")
        record_rows(name, f"python benchmarks/training.py {given}", found)


if __name__ == "__main__":
    main()
