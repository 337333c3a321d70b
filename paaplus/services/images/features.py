"""Stored features of images as arrays, checked against their digests.

Shape letters: D = feature dimensions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import numpy as np
import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from paaplus.db.row_sets import encoded, row_set
from paaplus.db.tables import FeaturesRow, ImageRow
from paaplus.errors import Damaged, InvalidInput

log = structlog.get_logger(__name__)


class StoredFeatures(NamedTuple):
    """A row of `COLUMNS`. `error`: why the extractor gave no features."""

    image_id: UUID
    extractor_digest: str
    data: bytes | None
    error: str | None
    sha256: str | None


COLUMNS: Final = tuple(getattr(FeaturesRow, name) for name in StoredFeatures._fields)
"""The columns that every reader of features selects."""


@dataclass(frozen=True)
class SortedFeatures:
    """Features of several images, by image id."""

    usable: dict[UUID, np.ndarray] = field(default_factory=dict)  # shape (D,), float16
    failed: dict[UUID, str] = field(default_factory=dict)  # cannot be scored, and why
    damaged: list[UUID] = field(default_factory=list)  # the stored bytes have changed


def features_digest(extractor_digest: str, image_id: UUID, data: bytes) -> str:
    """SHA-256 over extractor, image and bytes: it also shows that two rows were exchanged."""
    return hashlib.sha256(extractor_digest.encode() + image_id.bytes + data).hexdigest()


def read_features(session: Session, extractor_digest: str, image_ids: Collection[UUID]) -> list[StoredFeatures]:
    """The stored features of these images; those that were not extracted yet are left out."""
    if not image_ids:
        return []
    dialect = session.get_bind().dialect.name
    parameters = {"ids": encoded(dialect, ([image_id] for image_id in image_ids)), "extractor": extractor_digest}
    return [StoredFeatures(*row) for row in session.execute(_stored(dialect), parameters)]


@cache
def _stored(dialect: str) -> sa.Select[Any]:
    wanted = row_set(dialect, "ids", {"id": sa.Uuid()})  # one parameter: a ranking has more ids than SQLite takes
    # IN and not JOIN: SQLite would unfold all ids again for every row of features.
    return sa.select(*COLUMNS).where(
        FeaturesRow.extractor_digest == sa.bindparam("extractor"), FeaturesRow.image_id.in_(sa.select(wanted.c.id))
    )


def sorted_features(rows: Iterable[Sequence[Any]], feature_dim: int) -> SortedFeatures:
    """Sort rows of `COLUMNS` by what can be done with them. Damaged rows are logged.

    Args:
        rows: rows of `COLUMNS`.
        feature_dim: the base model's.
    """
    found = SortedFeatures()
    for row in rows:
        stored = StoredFeatures(*row)
        try:
            found.usable[stored.image_id] = features_of(stored, feature_dim)
        except Damaged as error:
            log.error("features_damaged", image_id=str(stored.image_id), error=str(error))
            found.damaged.append(stored.image_id)
        except InvalidInput as error:
            found.failed[stored.image_id] = str(error)
    return found


def usable_features(rows: Iterable[Sequence[Any]], feature_dim: int) -> dict[UUID, np.ndarray]:
    """Features by image id, without the images whose features cannot be scored.

    Args:
        rows: rows of `COLUMNS`.
        feature_dim: the base model's.
    """
    return sorted_features(rows, feature_dim).usable


def features_of(stored: StoredFeatures, feature_dim: int) -> np.ndarray:
    """One image's features, shape (D,), float16.

    Args:
        stored: a row of `COLUMNS`.
        feature_dim: D.

    Raises:
        Damaged: the bytes are not those that were stored.
        InvalidInput: the image cannot be scored: no features, another number of them, or NaN or infinity among them.
    """
    data = stored.data
    if data is None:
        raise InvalidInput(stored.error or "no features")
    if features_digest(stored.extractor_digest, stored.image_id, data) != stored.sha256:
        raise Damaged(f"the stored features of image {stored.image_id} are damaged")
    if len(data) != feature_dim * np.dtype(np.float16).itemsize:
        raise InvalidInput(f"its features are {len(data)} bytes, not {feature_dim} float16 numbers")
    features_D = np.frombuffer(data, np.float16)
    if not np.isfinite(features_D).all():
        raise InvalidInput("its features are not finite")
    return features_D


def uploads(session: Session, extractor_digest: str) -> dict[str, UUID]:
    """The images that have features, by the SHA-256 of the file as it was uploaded.

    Args:
        session: a read session.
        extractor_digest: the extractor's.
    """
    rows = session.execute(
        sa.select(ImageRow.upload_sha256, ImageRow.id)
        .join(FeaturesRow, FeaturesRow.image_id == ImageRow.id)
        .where(FeaturesRow.extractor_digest == extractor_digest, FeaturesRow.data.is_not(None))
    )
    return {row.upload_sha256: row.id for row in rows}


def of_image(session: Session, extractor_digest: str, image_id: UUID, feature_dim: int) -> np.ndarray | None:
    """Features of one image, shape (D,), float16; None: there are none that can be used."""
    row = sa.select(*COLUMNS).where(FeaturesRow.image_id == image_id, FeaturesRow.extractor_digest == extractor_digest)
    return usable_features(session.execute(row), feature_dim).get(image_id)


def delete_damaged(session: Session, extractor_digest: str, image_ids: Collection[UUID]) -> int:
    """Delete the features of these images that are damaged, so that they are extracted again; returns how many.

    The rows are checked again under a lock: another process may have repaired them meanwhile.
    """
    rows = session.execute(
        sa.select(*COLUMNS)
        .where(FeaturesRow.extractor_digest == extractor_digest, FeaturesRow.image_id.in_(image_ids))
        .with_for_update()
    ).all()
    damaged = [
        row.image_id
        for row in rows
        if row.data is not None and features_digest(row.extractor_digest, row.image_id, row.data) != row.sha256
    ]
    session.execute(
        sa.delete(FeaturesRow).where(
            FeaturesRow.extractor_digest == extractor_digest, FeaturesRow.image_id.in_(damaged)
        )
    )
    return len(damaged)


def delete_failed(session: Session, image_ids: sa.Select[UUID]) -> None:
    """Delete the errors of these images' extractions, so that they are tried again."""
    session.execute(sa.delete(FeaturesRow).where(FeaturesRow.image_id.in_(image_ids), FeaturesRow.data.is_(None)))
