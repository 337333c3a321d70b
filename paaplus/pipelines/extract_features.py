"""The job that extracts features: in batches, each image once per extractor."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
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
from paaplus.pipelines.extraction_plan import PlannedImage, without_features
from paaplus.queue import jobs
from paaplus.services.images.features import features_digest

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
    plan = context.extraction_plan(extractor.digest)
    while True:
        if running.should_stop():
            raise TrainingStopped(f"stopped after {done} of {total} images")
        with context.database.read_session() as session:
            batch = plan.next_batch(session, context.settings.features_batch_size, postponed)
        if not batch:
            if postponed:
                raise Unavailable(f"not enough memory for {len(postponed)} images; {done} are done")
            return done
        try:
            rows, without_memory = _extract(context, extractor, batch)
            with context.database.session() as session:
                _store(session, rows)
        except BaseException:
            plan.forget()
            raise
        postponed |= without_memory
        faults.point("features_stored")
        done += len(rows)
        running.progress(done, max(done, total))
        if time.monotonic() > ends_at:
            raise NotReady(f"{done} of {max(done, total)} images are done; other jobs are next", 0.0)


def _extract(
    context: WorkerContext, extractor: Extractor, batch: Sequence[PlannedImage]
) -> tuple[list[dict[str, object]], set[UUID]]:
    """One features row per image of a batch, and the images for which the memory was too small.

    A broken image gets a row with its error. Too little memory is no property of an image, so it gives no row.
    """
    now = utcnow()
    images: list[Image] = []
    readable: list[UUID] = []
    errors: dict[UUID, str] = {}
    without_memory: set[UUID] = set()
    for image_id, sha256, _, _ in batch:
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
        for image_id, _, _, _ in batch
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


def _count_missing(session: Session, extractor_digest: str) -> int:
    query = sa.select(sa.func.count()).select_from(ImageRow).where(without_features(extractor_digest))
    return int(session.execute(query).scalar_one())
