"""Projected images of one worker process: each is projected once, however many trainings read it.

An image's features by one extractor do not change, so what is projected is kept as long as there is room.

Shape letters: P = images of the pool, I = images, R = taste dimensions, A = aspects.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import FeaturesRow, ImageRow, UserRow
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.rows import stacked_rows
from paaplus.services.images.features import read_features, sorted_features
from paaplus.services.predictions.cache import SizedCache
from paaplus.services.predictions.serving import ImageKey, ProjectedImage, projected, size_bytes

SHARED_S: Final = 5.0  # how long a worker may pass over new images that belong into an application's pool

PoolImage = tuple[str, UUID]  # content digest, id


@dataclass(frozen=True, slots=True)
class ReadImages:
    """Images in taste space, without those that cannot be scored.

    `num_missing`: images that the extractor has not processed yet, or whose features are damaged.
    """

    images: dict[UUID, ProjectedImage]
    num_missing: int = 0
    damaged: list[UUID] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Pool:
    """Images on which the gate measures changes: in taste space, and their generic scores."""

    taste_PR: np.ndarray
    generic_PA: np.ndarray


def inputs_of(
    base: BaseScorer, images: Mapping[UUID, ProjectedImage], image_ids: list[UUID]
) -> tuple[np.ndarray, np.ndarray]:
    """Taste vectors (I, R) and generic scores (I, A) of some of the images, in this order."""
    if not image_ids:
        return np.empty((0, base.taste_dim), np.float32), np.empty((0, len(base.aspects)), np.float32)
    chosen = [images[image_id] for image_id in image_ids]
    return stacked_rows([image.taste_R for image in chosen]), stacked_rows([image.generic_A for image in chosen])


def with_own_images(session: Session, user_ids: Collection[UUID]) -> set[UUID]:
    """Those of the users to whom any image belongs."""
    owners = sa.select(ImageRow.owner_id).where(ImageRow.owner_id.in_(user_ids)).distinct()
    return {owner_id for owner_id in session.execute(owners).scalars() if owner_id is not None}


class Projections:
    """Reads images in taste space. `images`: those that are kept; what serves scores may share them."""

    def __init__(self, images: SizedCache[ImageKey, ProjectedImage]) -> None:
        self._images = images
        self._shared: dict[tuple[str, str, int], tuple[float, list[PoolImage]]] = {}
        self._pools: dict[tuple[str, str, int], tuple[list[PoolImage], Pool]] = {}
        self._keeps = images.max_bytes > 0

    def read(
        self, session: Session, base: BaseScorer, preference: Sequence[float] | None, image_ids: Collection[UUID]
    ) -> ReadImages:
        """Read these images, projected with a preference; None: without one."""
        used = tuple(preference) if preference is not None else None
        known = self._images.get_each([(base.digest, image_id, used) for image_id in image_ids])
        images = {image_id: image for image_id, image in zip(image_ids, known, strict=True) if image is not None}
        if len(images) == len(image_ids):
            return ReadImages(images)
        missing = [image_id for image_id in image_ids if image_id not in images]
        found = sorted_features(read_features(session, base.extractor_digest, missing), base.feature_dim)
        for image_id, image in projected(base, list(found.usable), found.usable, used):
            images[image_id] = image
            self._images.put((base.digest, image_id, used), image, size_bytes(image))
        return ReadImages(images, len(missing) - len(found.usable) - len(found.failed), found.damaged)

    def pool(
        self,
        session: Session,
        user: UserRow,
        base: BaseScorer,
        preference: Sequence[float] | None,
        size: int,
        *,
        has_own: bool = True,
    ) -> Pool:
        """Up to `size` images that the user may see: those of the lowest digests.

        Args:
            has_own: whether any image belongs to the user; the others without a preference share one pool.
        """
        if has_own or preference is not None:
            chosen = [image_id for _, image_id in self.pool_images(session, user, base, size)]
            return self._pool_of(session, base, preference, chosen)
        shared = self._shared_images(session, user.application, base.extractor_digest, size)
        key = (user.application, base.digest, size)
        known, pool = self._pools.get(key, (None, None))
        if known is not shared or pool is None:
            pool = self._pool_of(session, base, None, [image_id for _, image_id in shared])
            self._pools[key] = shared, pool
        return pool

    def _pool_of(
        self, session: Session, base: BaseScorer, preference: Sequence[float] | None, chosen: Sequence[UUID]
    ) -> Pool:
        images = self.read(session, base, preference, chosen).images
        found = [images[image_id] for image_id in chosen if image_id in images]
        if not found:
            taste_PR = np.empty((0, base.taste_dim), np.float32)
            return Pool(taste_PR, base.generic(taste_PR))
        return Pool(np.stack([each.taste_R for each in found]), np.stack([each.generic_A for each in found]))

    def pool_images(self, session: Session, user: UserRow, base: BaseScorer, size: int) -> list[PoolImage]:
        """Content digest and id of the images of the pool."""
        shared = self._shared_images(session, user.application, base.extractor_digest, size)
        own = _first_images(session, base.extractor_digest, size, ImageRow.owner_id == user.id)
        return list(heapq.merge(shared, own))[:size]

    def _shared_images(self, session: Session, application: str, extractor_digest: str, size: int) -> list[PoolImage]:
        key = (application, extractor_digest, size)
        until, found = self._shared.get(key, (0.0, []))
        if not self._keeps or until < time.monotonic():
            condition = sa.and_(ImageRow.application == application, ImageRow.owner_id.is_(None))
            found = _first_images(session, extractor_digest, size, condition)
            self._shared[key] = (time.monotonic() + SHARED_S, found)
        return found


def _first_images(
    session: Session, extractor_digest: str, size: int, condition: sa.ColumnElement[bool]
) -> list[PoolImage]:
    """Images with features in order of their digest: an index gives this order, however many there are."""
    rows = session.execute(
        sa.select(ImageRow.sha256, ImageRow.id)
        .join(FeaturesRow, FeaturesRow.image_id == ImageRow.id)
        .where(FeaturesRow.extractor_digest == extractor_digest, FeaturesRow.data.is_not(None), condition)
        .order_by(ImageRow.sha256, ImageRow.id)
        .limit(size)
    )
    return [(sha256, image_id) for sha256, image_id in rows]
