"""The embedded deployment inside this process: database and storage, one user, and a worker in a thread.

Features and trainings go through the job queue, as in a worker process. Another worker may run meanwhile and take the
jobs: then this one waits for it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from paaplus.db import migrate
from paaplus.db.engine import Database
from paaplus.db.tables import BaseModelRow, FeaturesRow, ImageRow, JobRow
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.errors import Unavailable
from paaplus.pipelines.context import WorkerContext
from paaplus.services import names, scheduling
from paaplus.services.images import images
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.registry import base_models
from paaplus.services.users import users
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

_LEASE_S: Final = 10.0  # after a kill, the next run waits for no longer than this
_POLL_S: Final = 0.2
_SCAN_S: Final = 2.0

StarterModel = Callable[[Database, BlobStore, Settings], BaseModelRow]


@dataclass
class LocalPlatform:
    """What importing, rating and ranking work with. `context` is that of the worker in this process."""

    settings: Settings
    database: Database
    blobs: BlobStore
    base_model: BaseModelRow
    user_id: UUID

    @property
    def home(self) -> Path:
        """The folder of what belongs to photographs alone: catalogues and contact sheets."""
        return self.settings.home.absolute() / "photos"

    @cached_property
    def serving(self) -> ServingStore:
        """Base model, versions and projected images, cached in memory."""
        return ServingStore(self.database, self.blobs, self.settings)

    @cached_property
    def context(self) -> WorkerContext:
        """The worker's. torch is loaded here, and not where nothing is left to compute."""
        import torch

        from paaplus.models.device import resolve_device

        torch.set_num_threads(self.settings.torch_threads)
        name = f"{socket.gethostname()}:{os.getpid()}"
        device = resolve_device(self.settings.device)
        return WorkerContext(self.database, self.blobs, self.settings, worker=name, device=device)

    def extract(self, image_ids: Collection[UUID], on_progress: Callable[[int, int], None]) -> None:
        """Have the features of these images extracted, if some are missing.

        Raises:
            Unavailable: the job was given up; the message has its last error.
        """
        wanted = set(image_ids)
        total = len(wanted & self._without_features())
        if not total:
            return
        with self.database.session() as session:
            job_id = images.request_features(session, None, self.settings)
        if job_id is None:
            return

        def is_done() -> bool:
            left = len(wanted & self._without_features())
            on_progress(total - left, total)
            if left:
                self._require_not_dead(job_id)
            return left == 0

        self._work_until(is_done)

    def train(self, reason: str) -> None:
        """Have the user's new feedback trained on now: a job, as every training, and the gate decides.

        Raises:
            Unavailable: the job was given up; the message has its last error.
        """
        with self.database.session() as session:
            if scheduling.pending_feedback(session, self.user_id) == 0:
                return
            job_id = scheduling.request_training(
                session, self.user_id, actor="operator", reason=reason, settings=self.settings
            )

        def is_done() -> bool:
            self._require_not_dead(job_id)
            return not self._has_open_training()

        self._work_until(is_done)

    def _without_features(self) -> set[UUID]:
        extracted = sa.exists().where(
            FeaturesRow.image_id == ImageRow.id, FeaturesRow.extractor_digest == self.base_model.extractor_digest
        )
        with self.database.read_session() as session:
            return set(
                session.execute(sa.select(ImageRow.id).where(ImageRow.owner_id == self.user_id, ~extracted)).scalars()
            )

    def _has_open_training(self) -> bool:
        query = sa.select(JobRow.id).where(
            JobRow.user_id == self.user_id,
            JobRow.kind == JobKind.ADAPT,
            JobRow.state.in_((JobState.QUEUED, JobState.RUNNING)),
        )
        with self.database.read_session() as session:
            return session.execute(query.limit(1)).first() is not None

    def _require_not_dead(self, job_id: UUID) -> None:
        with self.database.read_session() as session:
            job = session.get(JobRow, job_id)
            if job is not None and job.state == JobState.DEAD:
                raise Unavailable(f"job {job_id} was given up: {job.last_error}")

    def _work_until(self, is_done: Callable[[], bool]) -> None:
        """Run ready jobs until it is done. Ctrl-C ends the worker, which returns its job to the queue."""
        with self.working() as is_working:
            while not is_done() and is_working():
                time.sleep(_POLL_S)

    @contextmanager
    def working(self) -> Iterator[Callable[[], bool]]:
        """Run ready jobs in a thread, and scan, as worker and scheduler do. What is given tells whether it still runs.

        An error of the worker is raised at the end.
        """
        context = self.context
        errors: list[BaseException] = []
        ended = threading.Event()

        def work() -> None:
            from paaplus.pipelines.run_jobs import run_next

            queues: list[str] = sorted({self.settings.features_queue, self.settings.adaptation_queue})
            scanned = 0.0
            try:
                while not ended.is_set():
                    if time.monotonic() - scanned > _SCAN_S:
                        scheduling.scan(self.database, self.settings)  # also ends leases of processes that were killed
                        scanned = time.monotonic()
                    if run_next(context, queues) == 0:
                        ended.wait(_POLL_S)
            except BaseException as error:
                errors.append(error)

        context.stopping.clear()
        thread = threading.Thread(target=work, name="photos-worker")
        thread.start()
        try:
            yield thread.is_alive
        finally:
            ended.set()
            context.stopping.set()
            thread.join()
        if errors:
            raise errors[0]


@contextmanager
def open_platform(settings: Settings, user: str, starter: StarterModel) -> Iterator[LocalPlatform]:
    """The platform of these settings, with the user, who is made if new, and with a base model.

    A database in a file is made, or brought to this version's schema. One of a server is not changed.

    Args:
        settings: of the deployment.
        user: the user's external id in the application `photos`.
        starter: makes a base model if there is none.

    Raises:
        Unavailable: the schema of a server's database is not this version's.
    """
    settings = settings.model_copy(update={"lease_s": min(settings.lease_s, _LEASE_S)})
    settings.home.mkdir(parents=True, exist_ok=True)
    database = Database(settings.resolved_database_url)
    try:
        if database.engine.dialect.name == "sqlite":
            migrate.upgrade(settings.resolved_database_url)
        migrate.require_head(database.engine)
        blobs = BlobStore(settings.resolved_storage_url)
        with database.read_session() as session:
            base_model = base_models.find_default(session, settings)
        if base_model is None:
            base_model = starter(database, blobs, settings)
        with database.session() as session:
            user_id = users.create(session, application=names.HOME_APPLICATION, external_id=user)[0].id
        yield LocalPlatform(settings, database, blobs, base_model, user_id)
    finally:
        database.dispose()
