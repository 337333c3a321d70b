"""The job that extracts features: in batches, each image once per extractor."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus import faults
from paaplus.db.tables import BaseModelRow, FeaturesRow, ImageRow
from paaplus.db.types import utcnow
from paaplus.db.upsert import insert_ignoring_conflicts
from paaplus.errors import Conflict, Damaged, InvalidInput, NotFound, TrainingStopped
from paaplus.models.base_models import load_extractor
from paaplus.models.extractor import Explains, Extractor
from paaplus.models.images import decode_image
from paaplus.pipelines.context import NotReady, Running, WorkerContext
from paaplus.queue import jobs


def run(running: Running) -> str:
    """Extract features until every image has them, or for one round. Every batch is committed at once.

    Raises:
        Conflict: the extractor of this process is not that of the base model.
        NotReady: the round is over, and images are left.
        TrainingStopped: the worker stops, or lost the job.
        Unavailable: the storage does not answer.
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
    """Extract batch by batch. Returns the number of images that are done, when none is left."""
    context = running.context
    ends_at = running.round_ends_at()
    running.progress(done, total)
    while True:
        if running.should_stop():
            raise TrainingStopped(f"stopped after {done} of {total} images")
        with context.database.read_session() as session:
            batch = _missing(session, extractor.digest, context.settings.features_batch_size)
        if not batch:
            return done
        rows = _extract(context, extractor, batch)
        with context.database.session() as session:
            _store(session, rows)
        faults.point("features_stored")
        done += len(batch)
        running.progress(done, max(done, total))
        if time.monotonic() > ends_at:
            raise NotReady(f"{done} of {max(done, total)} images are done; other jobs are next", 0.0)


def _extract(context: WorkerContext, extractor: Extractor, batch: list[tuple[UUID, str]]) -> list[dict[str, object]]:
    """One features row per image of a batch of (id, digest). A broken image gets a row with its error."""
    now = utcnow()
    images, readable, rows = [], [], []
    for image_id, sha256 in batch:
        row: dict[str, object] = {
            "extractor_digest": extractor.digest,
            "image_id": image_id,
            "data": None,
            "error": None,
            "created_at": now,
        }
        rows.append(row)
        try:
            images.append(decode_image(context.blobs.get(sha256), context.settings.max_image_pixels))
            readable.append(row)
        except (Damaged, InvalidInput, NotFound) as error:  # no retry: the stored bytes do not change
            row["error"] = f"{type(error).__name__}: {error}"
    if images:
        for row, image, features_D in zip(readable, images, extractor.extract(images), strict=True):
            if np.isfinite(features_D).all():
                row["data"] = np.ascontiguousarray(features_D, np.float16).tobytes()
            else:
                num_bad = int((~np.isfinite(features_D)).sum())
                reason = extractor.explain(image) if isinstance(extractor, Explains) else None
                row["error"] = reason or f"{num_bad} of its {len(features_D)} features are not finite"
    return rows


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


def _missing(session: Session, extractor_digest: str, limit: int) -> list[tuple[UUID, str]]:
    query = (
        sa.select(ImageRow.id, ImageRow.sha256)
        .where(_without_features(extractor_digest))
        .order_by(ImageRow.id)
        .limit(limit)
    )
    return [(image_id, sha256) for image_id, sha256 in session.execute(query)]
