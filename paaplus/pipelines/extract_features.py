"""Extract features of every image that has none yet, in batches, each image once per extractor."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import BaseModelRow, FeaturesRow, ImageRow
from paaplus.db.types import utcnow
from paaplus.db.upsert import insert_ignoring_conflicts
from paaplus.errors import Conflict, InvalidInput, NotFound, TrainingStopped
from paaplus.models.base_models import load_extractor
from paaplus.models.extractor import Extractor
from paaplus.models.images import decode_image
from paaplus.pipelines.context import Running
from paaplus.queue import jobs


def run(running: Running) -> str:
    """Work until no image is without features; what is done stays done when the job is killed.

    Raises:
        Conflict: this process builds another extractor than the base model was made with.
    """
    context, payload = running.context, running.lease.payload
    digest = str(payload["extractor_digest"])
    with context.database.read_session() as session:
        base_model = session.get(BaseModelRow, UUID(str(payload["base_model_id"])))
        if base_model is None:
            raise NotFound(f"base model {payload['base_model_id']} does not exist")
        total = _count_missing(session, digest)
    if total:
        extractor = cached_extractor(
            str(base_model.config["extractor"]), base_model.config.get("weights"), context.device
        )
        if extractor.digest != digest:
            raise Conflict(f"extractor {extractor.name} has digest {extractor.digest} here, the base model {digest}")
        _extract_all(running, extractor, total)
    with context.database.session() as session:
        jobs.complete(session, running.lease)
    return f"{total} images"


@lru_cache(maxsize=2)
def cached_extractor(name: str, weights: str | None, device: str) -> Extractor:
    """One backbone per process: loading it costs more than most batches."""
    return load_extractor(name, Path(weights) if weights else None, device)


def _extract_all(running: Running, extractor: Extractor, total: int) -> None:
    context = running.context
    done = 0
    running.progress(done, total)
    while True:
        if running.should_stop():
            raise TrainingStopped(f"stopped after {done} of {total} images")
        with context.database.read_session() as session:
            batch = _missing(session, extractor.digest, context.settings.features_batch_size)
        if not batch:
            return
        images, rows = [], []
        for image_id, sha256 in batch:
            row = {"extractor_digest": extractor.digest, "image_id": image_id, "data": None, "error": None}
            try:
                images.append(decode_image(context.blobs.get(sha256), context.settings.max_image_pixels))
            except (InvalidInput, NotFound) as error:  # not retried: the stored bytes will not change
                row["error"] = f"{type(error).__name__}: {error}"
            rows.append({**row, "created_at": utcnow()})
        features_BD = iter(extractor.extract(images) if images else np.empty((0, extractor.feature_dim), np.float16))
        for row in rows:
            if row["error"] is None:
                row["data"] = np.ascontiguousarray(next(features_BD), np.float16).tobytes()
        with context.database.session() as session:
            _store(session, rows)
        done += len(batch)
        running.progress(done, max(done, total))


def _store(session: Session, rows: list[dict[str, object]]) -> None:
    """Insert what is not there yet, for images that still are."""
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
