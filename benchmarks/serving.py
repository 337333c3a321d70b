"""What scores cost over HTTP: processor milliseconds of a request, and requests a second of one API process.

    python benchmarks/serving.py [--users 1000] [--seconds 3] [--record]

One API process's application, called in this process (SQLite), on a simulated base model with 256 taste dimensions;
every user has a taste vector. Processor time includes the calling client's share (`nothing` is a request that finds
nothing to do: what HTTP and the client cost alone). `scoring alone` is the same rows scored without HTTP and database.
--record keeps the result in benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from cohort import simulated_base
from ingest import APPLICATION, NUM_IMAGES, populate, show
from recording import record_rows
from starlette.testclient import TestClient

from paaplus.api.app import create_app
from paaplus.db import migrate
from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, FeaturesRow
from paaplus.db.tables.models import AdapterState
from paaplus.db.types import utcnow
from paaplus.ids import new_id, sha256_hex
from paaplus.scoring.adapters import TasteVector
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.services.images.features import features_digest
from paaplus.services.registry import base_models
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

TASTE_DIM = 256


def give_features(database: Database, images: list[UUID], base: BaseScorer) -> None:
    rng = np.random.default_rng(0)
    with database.session() as session:
        for image_id in images:
            data = rng.normal(size=TASTE_DIM).astype(np.float16).tobytes()
            digest = features_digest(base.extractor_digest, image_id, data)
            session.add(
                FeaturesRow(
                    image_id=image_id,
                    extractor_digest=base.extractor_digest,
                    data=data,
                    sha256=digest,
                    created_at=utcnow(),
                )
            )


def give_adapters(database: Database, users: list[UUID], base: BaseScorer, base_model_id: UUID) -> None:
    """An active taste vector for every user."""
    rng = np.random.default_rng(1)
    one = np.ones(1, np.float32)
    rows = []
    for user_id in users:
        weight_RA = (0.1 * rng.normal(size=(TASTE_DIM, 1))).astype(np.float32)
        data = TasteVector(base.digest, alpha_A=one, beta_A=0 * one, weight_RA=weight_RA).to_bytes()
        rows.append(
            {
                "id": new_id(), "user_id": user_id, "number": 1, "base_model_id": base_model_id,
                "kind": "taste_vector", "strategy": "bayes", "data": data, "digest": sha256_hex(data),
                "state": AdapterState.ACTIVE, "created_at": utcnow(), "high_water_sequence": 0, "epoch": 0,
                "num_ratings": 0, "metrics": {}, "gate_report": {}, "size_bytes": len(data), "learner_state": b"",
            }
        )  # fmt: skip
    with database.session() as session:
        session.execute(sa.insert(AdapterRow), rows)


def request_cost(client: TestClient, path: str, body: dict[str, object] | None, seconds: float) -> dict[str, float]:
    """Median wall and processor milliseconds of a request, and requests a second; the first ones warm up."""
    walls: list[float] = []
    cpus: list[float] = []
    data = json.dumps(body) if body is not None else None
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(walls) < 12:
        wall, cpu = time.perf_counter(), time.process_time()
        answer = (
            client.get(path)
            if data is None
            else client.post(path, content=data, headers={"content-type": "application/json"})
        )
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        assert answer.status_code == 200, answer.text[:300]
    walls, cpus = walls[2:], cpus[2:]
    return {
        "cpu_ms": 1e3 * statistics.median(cpus),
        "wall_ms": 1e3 * statistics.median(walls),
        "p99_ms": 1e3 * float(np.quantile(walls, 0.99)),
        "per_s_of_processor": 1.0 / statistics.median(cpus),
    }


def measure(num_users: int, seconds: float) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(
            home=Path(home), requests_per_minute=0, predictions_per_key_per_day=0, log_level="WARNING",
            keep_receipts_days=0,
        )  # fmt: skip
        migrate.upgrade(settings.resolved_database_url)
        database, blobs = Database(settings.resolved_database_url), BlobStore(settings.resolved_storage_url)
        users, images, token = populate(database)
        users = users[:num_users]
        base = simulated_base(TASTE_DIM, features_are_taste=True)
        with database.session() as session:
            base_model_id = base_models.register(session, blobs, base, {"extractor": "none"}, {}).id
        give_features(database, images, base)
        give_adapters(database, users, base, base_model_id)
        pictures = [str(image) for image in images[:NUM_IMAGES]]
        shapes: dict[str, dict[str, object]] = {
            "1 image of one user": {"users": ["u0"], "images": pictures[:1]},
            "64 images of one user": {"users": ["u0"], "images": pictures[:64]},
            "64 users, 1 image each": {"users": [f"u{n}" for n in range(64)], "images": pictures[:1]},
            "256 users, 1 image each": {"users": [f"u{n}" for n in range(256)], "images": pictures[:1]},
        }
        found: list[dict[str, object]] = []
        with TestClient(create_app(settings)) as client:
            client.headers["Authorization"] = f"Bearer {token}"
            found.append({"what": "nothing (GET /healthz)", **request_cost(client, "/healthz", None, seconds)})
            for name, body in shapes.items():
                for receipts in (True, False):
                    cost = request_cost(client, "/v1/predictions", {**body, "receipts": receipts}, seconds)
                    found.append({"what": f"{name}, {'with' if receipts else 'without'} receipts", **cost})
        for row in found:
            show(row)
        database.dispose()
        assert APPLICATION
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    found = measure(options.users, options.seconds)
    if options.record:
        record_rows("serving", f"python benchmarks/serving.py --users {options.users}", found)


if __name__ == "__main__":
    main()
