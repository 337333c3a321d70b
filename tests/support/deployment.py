"""A small deployment without HTTP and Celery: a tiny base model, images with known features, people with a taste."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Self
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, BaseModelRow, FeaturesRow, ImageRow, RunRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.tables.jobs import JobState
from paaplus.db.types import utcnow
from paaplus.pipelines.context import WorkerContext
from paaplus.pipelines.run_jobs import run_next
from paaplus.queue import jobs
from paaplus.scoring.adapters import adapter_from_bytes
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.services import scheduling
from paaplus.services.adapters import versions
from paaplus.services.feedback import intake
from paaplus.services.feedback.intake import AppendResult, NewEvent
from paaplus.services.images.features import features_digest
from paaplus.services.registry import base_models
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from tests.support.factories import APPLICATION, make_image, make_images, make_user
from tests.support.saved_rows import SavedRows
from tests.support.tiny import FEATURE_DIM, tiny_base

SCALE = {"min": 0, "max": 10}
NUM_IMAGES = 160
_known: dict[tuple[str, str, int], tuple[BaseModelRow, tuple[UUID, ...], SavedRows]] = {}


class Deployment:
    """Everything a worker needs, on the given database, with `NUM_IMAGES` images that have features already."""

    def __init__(
        self, database: Database, settings: Settings, *, num_images: int = NUM_IMAGES, base: BaseScorer | None = None
    ) -> None:
        self.database, self.settings = database, settings
        self.blobs = BlobStore(settings.resolved_storage_url)
        self.context = WorkerContext(database, self.blobs, settings, worker="test")
        self.base = base or tiny_base()
        rng = np.random.default_rng(0)
        self.features_ID = rng.normal(size=(num_images, FEATURE_DIM)).astype(np.float16)
        self.taste_IR = self.base.project(self.features_ID)
        self.generic_IA = self.base.generic(self.taste_IR)
        self.base_row, images = self._put_base_and_images(num_images)
        self.images = list(images)

    def _put_base_and_images(self, num_images: int) -> tuple[BaseModelRow, tuple[UUID, ...]]:
        """Made by the services once for each kind of database and base model, and copied row by row since."""
        engine = self.database.engine
        kind = (engine.dialect.name, self.base.digest, num_images)
        tables = [each.__table__ for each in (BaseModelRow, ImageRow, FeaturesRow)]
        with engine.connect() as connection:
            is_new = not any(
                connection.execute(sa.select(sa.literal(1)).select_from(t).limit(1)).first() for t in tables
            )
        if is_new and kind in _known:
            base_row, images, rows = _known[kind]
            self.blobs.put(self.base.to_bytes())
            rows.put(engine)
            return base_row, images
        base_row, images = self._make_base_and_images(num_images)
        if is_new:
            _known[kind] = base_row, images, SavedRows.of(engine, tables)
        return base_row, images

    def _make_base_and_images(self, num_images: int) -> tuple[BaseModelRow, tuple[UUID, ...]]:
        with self.database.session() as session:
            base_row = base_models.register(session, self.blobs, self.base, {"extractor": "none"}, {})
            # fixed content digests, so that hold-out falls the same way in every run and on every database
            images = make_images(session, (f"{i:064x}" for i in range(num_images)))
            extractor = self.base.extractor_digest
            rows = [
                {
                    "extractor_digest": extractor,
                    "image_id": image_id,
                    "data": features_D.tobytes(),
                    "sha256": features_digest(extractor, image_id, features_D.tobytes()),
                    "created_at": utcnow(),
                }
                for image_id, features_D in zip(images, self.features_ID, strict=True)
            ]
            if rows:
                session.execute(sa.insert(FeaturesRow), rows)
        return base_row, tuple(images)

    def copy_to(self, database: Database, settings: Settings) -> Self:
        """The same deployment on another SQLite database, in which nothing has been read or written yet."""
        old, new = (str(make_url(each.resolved_database_url).database) for each in (self.settings, settings))
        self.database.dispose()  # the last connection writes what its log holds into the file
        shutil.copyfile(old, new)
        shutil.copytree(
            self.settings.home, settings.home, dirs_exist_ok=True, ignore=shutil.ignore_patterns(f"{Path(old).name}*")
        )
        other = copy.copy(self)
        other.database, other.settings, other.images = database, settings, list(self.images)
        other.blobs = BlobStore(settings.resolved_storage_url)
        other.context = WorkerContext(database, other.blobs, settings, worker="test")
        return other

    def add_user(self, name: str = "anna", **policy: object) -> UUID:
        with self.database.session() as session:
            return make_user(session, external_id=name, policy={"min_new_feedback": 10, **policy}).id

    def opinion(self, image: int, *, seed: int = 0, strength: float = 1.0) -> float:
        """What a person with a linear taste of their own would rate this image, 0-10."""
        rng = np.random.default_rng([seed, 7])
        taste_R = rng.normal(size=self.taste_IR.shape[1])
        taste_R *= strength / np.linalg.norm(taste_R) / self.taste_IR.std()
        noise = np.random.default_rng([seed, 11, image]).normal(scale=0.3)
        return float(np.clip(self.generic_IA[image, 0] + self.taste_IR[image] @ taste_R + noise, 0, 10))

    def rate(
        self, user_id: UUID, images: range, *, seed: int = 0, flip: bool = False, prefix: str = ""
    ) -> list[AppendResult]:
        """Post ratings of these images; `flip` turns the person's opinion upside down."""
        events = []
        for index, image in enumerate(images):
            value = self.opinion(image, seed=seed)
            events.append(self.rating(user_id, f"{prefix}r{image}", image, 10 - value if flip else value, index))
        return self.post(*events)

    def rating(self, user_id: UUID, event_id: str, image: int, value: float, index: int = 0) -> NewEvent:
        return NewEvent(
            index=index,
            user_id=user_id,
            event_id=event_id,
            kind=FeedbackKind.RATING,
            image_id=self.images[image],
            payload={"ratings": {self.base.aspects[0]: value}, "scale": SCALE},
        )

    def post(self, *events: NewEvent) -> list[AppendResult]:
        with self.database.session() as session:
            results = intake.append(session, APPLICATION, list(events), source="test", settings=self.settings)
        assert all(r.status != "rejected" for r in results), results
        return results

    def retract(self, user_id: UUID, event_id: str) -> None:
        self.post(
            NewEvent(
                index=0,
                user_id=user_id,
                event_id=f"retract-{event_id}",
                kind=FeedbackKind.RETRACTION,
                payload={},
                retracts_event_id=event_id,
            )
        )

    def queued_reason(self, user_id: UUID) -> str | None:
        """Why the user's training waits in the queue; None: none waits."""
        with self.database.read_session() as session:
            waiting = jobs.list_jobs(session, user_id=user_id, state=JobState.QUEUED)
        return waiting[0].reason if waiting else None

    def work(self) -> int:
        """One scan, then every ready job; returns how many jobs ran."""
        scheduling.scan(self.database, self.settings)
        num_jobs = 0
        while num := run_next(self.context, ["cpu", "gpu"]):
            num_jobs += num
        return num_jobs

    def retrain(self, user_id: UUID) -> None:
        with self.database.session() as session:
            scheduling.request_training(session, user_id, actor="test", reason="by hand", settings=self.settings)
        self.work()

    def versions(self, user_id: UUID) -> list[AdapterRow]:
        """Oldest first."""
        with self.database.read_session() as session:
            return versions.list_versions(session, user_id)[::-1]

    def active(self, user_id: UUID) -> AdapterRow | None:
        with self.database.read_session() as session:
            return versions.active(session, user_id)

    def runs(self, user_id: UUID) -> list[RunRow]:
        """Oldest first."""
        with self.database.read_session() as session:
            return list(versions.runs(session, user_id))[::-1]

    def user(self, user_id: UUID) -> UserRow:
        with self.database.read_session() as session:
            row = session.get(UserRow, user_id)
            assert row is not None
            return row

    def scores(self, user_id: UUID) -> np.ndarray:
        """What the user is served for every image, from the stored bytes, shape (I, A)."""
        with self.database.read_session() as session:
            data = session.execute(
                sa.select(AdapterRow.data).where(AdapterRow.user_id == user_id, AdapterRow.state == "active")
            ).scalar_one_or_none()
        if data is None:
            return self.generic_IA
        return adapter_from_bytes(data).score(self.taste_IR, self.generic_IA)

    def add_image_without_features(self) -> UUID:
        with self.database.session() as session:
            return make_image(session).id

    def image_row(self, image_id: UUID) -> ImageRow:
        with self.database.read_session() as session:
            row = session.get(ImageRow, image_id)
            assert row is not None
            return row
