"""The job that extracts features: in batches, each image once per extractor."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa
import structlog
from PIL.Image import Image
from sqlalchemy.orm import Session

from paaplus import faults
from paaplus.db.tables import BaseModelRow, FeaturesRow, ImageRow
from paaplus.db.types import utcnow
from paaplus.db.upsert import insert_ignoring_conflicts
from paaplus.errors import Conflict, Damaged, InvalidInput, NotFound, TrainingStopped, Unavailable
from paaplus.image_files import decode_image
from paaplus.models.base_models import load_extractor
from paaplus.models.extractor import Explains, Extractor
from paaplus.pipelines.context import NotReady, Running, WorkerContext
from paaplus.queue import jobs
from paaplus.services.images.features import features_digest

PLAN_S: Final = 2.0
PLAN_SIZE: Final = 512
NOBODY: Final = UUID(int=0)  # owner of shared images, in the order of extraction

log = structlog.get_logger(__name__)


def run(running: Running) -> str:
    """Extract features until every image has them, or for one round. Every batch is committed at once.

    Raises:
        Conflict: the extractor of this process is not that of the base model.
        NotReady: the round is over, and images are left.
        TrainingStopped: the worker stops, or lost the job.
        Unavailable: the storage does not answer, or there is not enough memory for some images.
    """
    context, payload = running.context, running.lease.payload
    digest = str(payload["extractor_digest"])
    with context.database.read_session() as session:
        base_model = session.get(BaseModelRow, UUID(str(payload["base_model_id"])))
        if base_model is None:
            raise NotFound(f"base model {payload['base_model_id']} does not exist")
        num_missing = _count_missing(session, digest)
        done = jobs.get(session, running.lease.job_id).progress_done  # in earlier rounds
    if num_missing:
        extractor = cached_extractor(
            str(base_model.config["extractor"]), base_model.config.get("weights"), context.device
        )
        if extractor.digest != digest:
            raise Conflict(f"extractor {extractor.name} has digest {extractor.digest} here, the base model {digest}")
        done = _extract_round(running, extractor, done, done + num_missing)
    with context.database.session() as session:
        jobs.complete(session, running.lease)
    return f"{done} images"


@lru_cache(maxsize=2)
def cached_extractor(name: str, weights: str | None, device: str) -> Extractor:
    """The extractor, loaded once per process, because loading takes longer than most batches."""
    return load_extractor(name, Path(weights) if weights else None, device)


def _extract_round(running: Running, extractor: Extractor, done: int, total: int) -> int:
    """Extract batch by batch. Returns the number of images that are done, when none is left.

    Raises:
        Unavailable: some images are left because there was not enough memory; all others are done.
    """
    context = running.context
    ends_at = running.round_ends_at()
    running.progress(done, total)
    postponed: set[UUID] = set()
    plan = _Plan(context, extractor.digest, postponed)
    while True:
        if running.should_stop():
            raise TrainingStopped(f"stopped after {done} of {total} images")
        batch = plan.next_batch()
        if not batch:
            if postponed:
                raise Unavailable(f"not enough memory for {len(postponed)} images; {done} are done")
            return done
        rows, without_memory = _extract(context, extractor, batch)
        postponed |= without_memory
        with context.database.session() as session:
            _store(session, rows)
        faults.point("features_stored")
        done += len(rows)
        running.progress(done, max(done, total))
        if time.monotonic() > ends_at:
            raise NotReady(f"{done} of {max(done, total)} images are done; other jobs are next", 0.0)


def _extract(
    context: WorkerContext, extractor: Extractor, batch: list[tuple[UUID, str]]
) -> tuple[list[dict[str, object]], set[UUID]]:
    """One features row per image of a batch of (id, digest), and the images for which the memory was too small.

    A broken image gets a row with its error. Too little memory is no property of an image, so it gives no row.
    """
    now = utcnow()
    images: list[Image] = []
    readable: list[UUID] = []
    errors: dict[UUID, str] = {}
    without_memory: set[UUID] = set()
    for image_id, sha256 in batch:
        try:
            images.append(decode_image(context.blobs.get(sha256), context.settings.max_image_pixels))
            readable.append(image_id)
        except (Damaged, InvalidInput, NotFound) as error:  # no retry: only another upload changes the stored bytes
            errors[image_id] = f"{type(error).__name__}: {error}"
        except MemoryError:
            without_memory.add(image_id)
    found: dict[UUID, bytes] = {}
    for image_id, image, features_D in zip(readable, images, _extracted(extractor, images), strict=True):
        if features_D is None:
            without_memory.add(image_id)
        elif np.isfinite(features_D).all():
            found[image_id] = np.ascontiguousarray(features_D, np.float16).tobytes()
        else:
            num_bad = int((~np.isfinite(features_D)).sum())
            reason = extractor.explain(image) if isinstance(extractor, Explains) else None
            errors[image_id] = reason or f"{num_bad} of its {len(features_D)} features are not finite"
    rows: list[dict[str, object]] = [
        {
            "extractor_digest": extractor.digest,
            "image_id": image_id,
            "data": found.get(image_id),
            "sha256": features_digest(extractor.digest, image_id, found[image_id]) if image_id in found else None,
            "error": errors.get(image_id),
            "created_at": now,
        }
        for image_id, _ in batch
        if image_id not in without_memory
    ]
    return rows, without_memory


def _extracted(extractor: Extractor, images: list[Image]) -> list[np.ndarray | None]:
    """Features of images, shape (D,) each; None: there is not enough memory for this one even alone."""
    if not images:
        return []
    try:
        return list(extractor.extract(images))
    except (MemoryError, RuntimeError) as error:
        _require_memory_error(error)
        log.warning("not enough memory for a batch", num_images=len(images), error=str(error))
    alone: list[np.ndarray | None] = []
    for image in images:
        try:
            alone.append(extractor.extract([image])[0])
        except (MemoryError, RuntimeError) as error:
            _require_memory_error(error)
            alone.append(None)
    return alone


def _require_memory_error(error: MemoryError | RuntimeError) -> None:
    """Raise the error again, unless it says that memory ran out. On a CPU, torch says so in a plain RuntimeError."""
    if not (isinstance(error, MemoryError) or re.search("out of memory|allocate memory", str(error))):
        raise error


def _store(session: Session, rows: list[dict[str, object]]) -> None:
    """Insert the rows that do not exist yet, for images that still exist."""
    alive = set(
        session.execute(
            sa.select(ImageRow.id).where(ImageRow.id.in_([row["image_id"] for row in rows])).with_for_update(read=True)
        ).scalars()
    )
    insert_ignoring_conflicts(session, FeaturesRow, [row for row in rows if row["image_id"] in alive])


def _without_features(extractor_digest: str) -> sa.ColumnElement[bool]:
    return ~sa.exists().where(FeaturesRow.image_id == ImageRow.id, FeaturesRow.extractor_digest == extractor_digest)


def _count_missing(session: Session, extractor_digest: str) -> int:
    query = sa.select(sa.func.count()).select_from(ImageRow).where(_without_features(extractor_digest))
    return int(session.execute(query).scalar_one())


class _Plan:
    """Which images are extracted next: fair between applications, and between the users of an application.

    The order is computed over all missing images, so it is kept for a while: for `PLAN_S`, or for ten times as long as
    the query took if that is longer.
    """

    def __init__(self, context: WorkerContext, extractor_digest: str, without: Collection[UUID]) -> None:
        self._context = context
        self._extractor_digest = extractor_digest
        self._without = without
        self._images: list[tuple[UUID, str]] = []
        self._ends_at = 0.0

    def next_batch(self) -> list[tuple[UUID, str]]:
        """(id, digest) of the next images; empty: none is left."""
        started = time.monotonic()
        if not self._images or started > self._ends_at:
            with self._context.database.read_session() as session:
                self._images = _missing(session, self._extractor_digest, PLAN_SIZE, self._without)
            took_s = time.monotonic() - started
            self._ends_at = started + took_s + max(PLAN_S, 10 * took_s)
        size = self._context.settings.features_batch_size
        batch, self._images = self._images[:size], self._images[size:]
        return batch


def _missing(session: Session, extractor_digest: str, limit: int, without: Collection[UUID]) -> list[tuple[UUID, str]]:
    """Images without features, in a fair order: the first of every owner come before the second of any."""
    owner = sa.func.coalesce(ImageRow.owner_id, NOBODY)
    of_owner = sa.func.row_number().over(partition_by=(ImageRow.application, owner), order_by=ImageRow.id)
    inner = (
        sa.select(ImageRow.id, ImageRow.sha256, ImageRow.application, of_owner.label("of_owner"))
        .where(_without_features(extractor_digest), ImageRow.id.not_in(without))
        .subquery()
    )
    of_application = sa.func.row_number().over(
        partition_by=inner.c.application, order_by=(inner.c.of_owner, inner.c.id)
    )
    query = sa.select(inner.c.id, inner.c.sha256).order_by(of_application, inner.c.id).limit(limit)
    return [(image_id, sha256) for image_id, sha256 in session.execute(query)]
