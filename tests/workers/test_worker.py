"""A real worker process extracts features of photographs with the real backbone and trains, on the CPU and on a GPU."""

from __future__ import annotations

import io
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
import redis
import sqlalchemy as sa
from PIL import Image

from paaplus.db.engine import Database
from paaplus.db.tables import FeaturesRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.models.base_fit import Ratings, fit_base_scorer
from paaplus.models.base_models import load_extractor
from paaplus.services.adapters import versions
from paaplus.services.feedback import intake
from paaplus.services.feedback.intake import NewEvent
from paaplus.services.images import uploads
from paaplus.services.registry import base_models
from paaplus.services.users import users
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from tests.support.factories import APPLICATION
from tests.support.processes import running, start_scheduler, start_worker, wait_until

NUM_IMAGES = 24


def picture(seed: int) -> Image.Image:
    """A small synthetic picture: coloured noise of a few sizes."""
    rng = np.random.default_rng(seed)
    side = int(rng.integers(2, 16))
    pixels = rng.integers(0, 255, size=(side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((96, 96), Image.Resampling.BICUBIC)


@pytest.mark.filterwarnings("ignore::paaplus.models.base_fit.SmallDataWarning")
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_gpu_queue_worker_extracts_and_trains_on_its_device(
    device: str, database: Database, database_url: str, redis_server: object, tmp_path: Path, features_cache: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "cache").symlink_to(features_cache)  # networks that another test has compiled
    settings = Settings(
        home=tmp_path / "home",
        database_url=database_url,
        broker_url=redis_server.url,
        features_queue="gpu",
        adaptation_queue="gpu",
        device=device,
        scan_interval_s=0.3,
    )
    redis.Redis.from_url(settings.broker_url).flushall()
    extractor = load_extractor("lite")
    pictures = [picture(seed) for seed in range(NUM_IMAGES)]
    local_ID = extractor.extract(pictures)
    user_id, image_ids = _deploy(database, settings, extractor.digest, pictures, local_ID)
    gpu_worker = start_worker(settings, "gpu", queues="gpu", prefork=True)
    # the scan needs a worker on the queue `cpu`; it finds nothing to compute there
    with running(gpu_worker, start_worker(settings, "cpu", queues="cpu"), start_scheduler(settings)):
        wait_until("the user is trained", lambda: _num_versions(database, user_id) == 1, 110)
    with database.read_session() as session:
        run = versions.runs(session, user_id)[0]
        rows = session.execute(sa.select(FeaturesRow.image_id, FeaturesRow.data)).all()
    assert run.device == device
    remote = {image_id: np.frombuffer(data, np.float16) for image_id, data in rows}
    for image_id, local_D in zip(image_ids, local_ID, strict=True):
        # PNG is lossless: on the CPU the same bits as here, on a GPU as close as its arithmetic is
        assert np.allclose(remote[image_id], local_D, atol=0 if device == "cpu" else 0.05)


def _num_versions(database: Database, user_id: UUID) -> int:
    with database.read_session() as session:
        return len(versions.list_versions(session, user_id))


def _deploy(
    database: Database, settings: Settings, extractor_digest: str, pictures: list[Image.Image], features_ID: np.ndarray
) -> tuple[UUID, list[UUID]]:
    """A base model on simulated ratings of these pictures, the pictures uploaded, a user who rated them all."""
    rng = np.random.default_rng(0)
    person_N, image_N = np.divmod(np.arange(4 * NUM_IMAGES), NUM_IMAGES)
    ratings = Ratings(("beauty",), person_N, image_N, rng.uniform(2, 8, size=(len(image_N), 1)))
    scorer, metrics = fit_base_scorer("lite", extractor_digest, features_ID.astype(np.float32), ratings)
    blobs = BlobStore(settings.resolved_storage_url)
    with database.session() as session:
        base_models.register(session, blobs, scorer, {"extractor": "lite", "weights": None}, metrics)
        policy = {"adapter": "bottleneck", "strategy": "replay_ewc"}
        user, _ = users.create(session, application=APPLICATION, external_id="anna", policy=policy)
    image_ids = []
    for each in pictures:
        file = io.BytesIO()
        each.save(file, "PNG")
        added = uploads.add(database, blobs, settings, application=APPLICATION, data=file.getvalue())
        image_ids.append(added.row.id)
    events = [
        NewEvent(
            index=i,
            user_id=user.id,
            event_id=f"e{i}",
            kind=FeedbackKind.RATING,
            image_id=image_id,
            payload={"ratings": {"beauty": float(rng.integers(1, 8))}, "scale": {"min": 1, "max": 7}},
        )
        for i, image_id in enumerate(image_ids)
    ]
    with database.session() as session:
        intake.append(session, APPLICATION, events, source="test", settings=settings)
    return user.id, image_ids
