"""How long a due user takes on the whole way through queue and worker, alone and claimed together with others.

    python benchmarks/workers.py [--users 64] [--sizes 1,16,64] [--repeats 7] [--record]

Users whose jobs wait in SQLite, one worker without Celery, everything that `paaplus.pipelines.run_jobs` does for them
(claim, read, train, judge, commit), one job at a time and several at a time (`PAAPLUS_CLAIM_SIZE`), in seconds of the
processor, medians over the turns; a turn starts from the same copied database. People are simulated, see `cohort.py`.
--record keeps the result in benchmarks/results, with date, commit and load.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import shutil
import statistics
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import sqlalchemy as sa
import structlog
import torch
from cohort import CLOCK, CONFIG, NUM_INCREMENTS, record, simulated_base

from paaplus.db import migrate
from paaplus.db.engine import Database
from paaplus.db.tables import FeaturesRow, ImageRow, RunRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.types import utcnow
from paaplus.ids import new_id
from paaplus.pipelines.context import WorkerContext
from paaplus.pipelines.run_jobs import run_next
from paaplus.services import scheduling
from paaplus.services.feedback import intake
from paaplus.services.feedback.intake import NewEvent
from paaplus.services.images.features import features_digest
from paaplus.services.registry import base_models
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

TASTE_DIM = 256
NUM_IMAGES, TOLD = 400, 40  # of the deployment, and rated by everybody in each increment; a fifth never trains
POLICIES: dict[str, dict[str, object]] = {
    "bottleneck replay_ewc": {"adapter": "bottleneck", "strategy": "replay_ewc", "training": CONFIG.to_dict()},
    "taste_vector bayes": {"adapter": "taste_vector", "strategy": "bayes"},
}


def deployed(home: Path, dim: int, policy: dict[str, object], num_users: int) -> Settings:
    """A deployment on SQLite where everybody has a first version and has rated as many again: jobs wait."""
    settings = Settings(home=home, database_url=f"sqlite:///{home / 'paaplus.db'}")
    migrate.upgrade(settings.database_url)
    database, blobs = Database(settings.database_url), BlobStore(settings.resolved_storage_url)
    base = simulated_base(dim, features_are_taste=True)
    rng = np.random.default_rng(dim)
    spectrum_R = 1.0 / (np.arange(dim) + 3.0)
    features_ID = (rng.normal(size=(NUM_IMAGES, dim)) * np.sqrt(spectrum_R / spectrum_R.sum())).astype(np.float16)
    generic_I1 = base.generic(base.project(features_ID))
    with database.session() as session:
        base_models.register(session, blobs, base, {"extractor": "none"}, {})
        users = [
            UserRow(id=new_id(), application="bench", external_id=f"user{u}", policy=policy, created_at=utcnow())
            for u in range(num_users)
        ]
        session.add_all(users)
        images = [new_id() for _ in range(NUM_IMAGES)]
        for i, image_id in enumerate(images):
            digest = f"{i:064x}"
            columns = {
                "sha256": digest,
                "upload_sha256": digest,
                "size_bytes": 1,
                "width_px": 1,
                "height_px": 1,
                "media_type": "image/png",
            }
            session.add(ImageRow(id=image_id, application="bench", created_at=utcnow(), **columns))
        session.flush()
        for image_id, features_D in zip(images, features_ID, strict=True):
            data = features_D.tobytes()
            sha256 = features_digest(base.extractor_digest, image_id, data)
            columns = {"extractor_digest": base.extractor_digest, "data": data, "sha256": sha256}
            session.add(FeaturesRow(image_id=image_id, created_at=utcnow(), **columns))
    context = WorkerContext(database, blobs, settings.model_copy(update={"claim_size": 64}), worker="bench")
    for k in range(NUM_INCREMENTS):
        if k:
            drain(context)
        for u, user in enumerate(users):
            person = np.random.default_rng([dim, u])
            score_I1 = generic_I1 + features_ID @ (person.normal(size=(dim, 1)) * base.prior_sd_A)
            order = person.permutation(NUM_IMAGES)[k * TOLD : (k + 1) * TOLD]
            values = np.clip(score_I1[order, 0] + person.normal(size=TOLD), 0, 10)
            with database.session() as session:
                events = [
                    NewEvent(
                        index=n,
                        user_id=user.id,
                        event_id=f"{k}-{n}",
                        kind=FeedbackKind.RATING,
                        image_id=images[i],
                        payload={"ratings": {"beauty": float(value)}, "scale": {"min": 0, "max": 10}},
                    )
                    for n, (i, value) in enumerate(zip(order, values, strict=True))
                ]
                intake.append(session, "bench", events, source="bench", settings=settings)
        scheduling.scan(database, settings)
    database.dispose()
    return settings


def drain(context: WorkerContext) -> tuple[int, float]:
    """Run every job that waits; how many, and the seconds until the first claim of them was done."""
    clock, num_jobs, first_s = CLOCK(), 0, 0.0
    while num := run_next(context, ["cpu"]):
        num_jobs += num
        first_s = first_s or CLOCK() - clock
    return num_jobs, first_s


def measure(dim: int, num_users: int, sizes: list[int], repeats: int) -> list[dict[str, object]]:
    """Rows of the table: milliseconds a user, and the parts of a run."""
    found: list[dict[str, object]] = []
    for name, policy in POLICIES.items():
        seconds: dict[int, list[float]] = {size: [] for size in sizes}
        firsts: dict[int, list[float]] = {size: [] for size in sizes}
        parts: dict[int, dict[str, float]] = {}
        with tempfile.TemporaryDirectory() as folder:
            settings = deployed(Path(folder) / "made", dim, policy, num_users)
            for turn, size in itertools.product(range(repeats + 1), sizes):
                home = Path(folder) / "turn"
                shutil.copytree(settings.home, home)
                now = settings.model_copy(
                    update={"home": home, "database_url": f"sqlite:///{home / 'paaplus.db'}", "claim_size": size}
                )
                database = Database(now.database_url)
                context = WorkerContext(database, BlobStore(now.resolved_storage_url), now, worker="bench")
                clock = CLOCK()
                num_jobs, first_s = drain(context)
                spent = CLOCK() - clock
                assert num_jobs == num_users, f"{num_jobs} jobs of {num_users} users"
                if turn:  # the first one warms up
                    seconds[size].append(spent / num_jobs)
                    firsts[size].append(first_s)
                parts[size] = mean_timings(database)
                database.dispose()
                shutil.rmtree(home)
        for size in sizes:
            value = statistics.median(seconds[size])
            found.append(
                {
                    "policy": name,
                    "taste_dim": dim,
                    "num_users": num_users,
                    "claim_size": size,
                    "ms_per_user": 1e3 * value,
                    "users_per_s": 1.0 / value,
                    "times_one_at_a_time": statistics.median(seconds[sizes[0]]) / value,
                    "first_claim_done_s": statistics.median(firsts[size]),
                    "ms_per_user_of_turns": [round(1e3 * each, 3) for each in seconds[size]],
                    **{f"{part}_ms": 1e3 * part_s for part, part_s in parts[size].items()},
                }
            )
    return found


def mean_timings(database: Database) -> dict[str, float]:
    """What the latest runs say of themselves, in seconds; every user must have a second version."""
    with database.read_session() as session:
        runs = session.execute(sa.select(RunRow.timings).where(RunRow.from_sequence > 0)).scalars().all()
    return {part: statistics.mean(timings[f"{part}_s"] for timings in runs) for part in ("read", "train", "judge")}


def show(found: list[dict[str, object]]) -> None:
    print("| policy | taste dim | users | at a time | ms a user | users a second | x one | first done s | parts |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in found:
        print(
            f"| {row['policy']} | {row['taste_dim']} | {row['num_users']} | {row['claim_size']} "
            f"| {row['ms_per_user']:.1f} | {row['users_per_s']:.0f} | {row['times_one_at_a_time']:.2f} "
            f"| {row['first_claim_done_s']:.2f} "
            f"| {row['read_ms']:.1f} / {row['train_ms']:.1f} / {row['judge_ms']:.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=64, help="who are due")
    parser.add_argument("--sizes", default=f"1,{Settings().claim_size},64", help="jobs of a claim")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    found = measure(TASTE_DIM, options.users, [int(size) for size in options.sizes.split(",")], options.repeats)
    show(found)
    if options.record:
        told = f"python benchmarks/workers.py --users {options.users} --sizes {options.sizes}"
        record("workers", f"{told} --repeats {options.repeats}", found)


if __name__ == "__main__":
    main()
