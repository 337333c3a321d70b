"""What predictions are made of: live adapters and projected images, kept in memory because neither ever changes.

Which version is live is asked of the database every time. Shape letters: D = features, R = taste space, A = aspects.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, BaseModelRow, FeaturesRow, TastePriorRow
from paaplus.db.tables.models import AdapterState
from paaplus.errors import InvalidInput, NotFound, Unavailable
from paaplus.ids import sha256_hex
from paaplus.scoring.adapters import Adapter, TasteVector, adapter_from_bytes
from paaplus.scoring.base import BaseScorer
from paaplus.scoring.priors import TastePrior
from paaplus.services import base_models, taste_priors
from paaplus.services.caches import SizedCache
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

ENTRY_OVERHEAD_BYTES: Final = 400  # two array headers, a key, a place in the order
ADAPTERS_CACHE_BYTES: Final = 64 * 2**20
PROJECT_BATCH: Final = 1024  # images that are projected at once: bounds the memory, not the result

StoredFeatures = tuple[bytes | None, str | None]  # the bytes, or the error that stopped them for good


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """The version that is live for a user."""

    id: UUID
    number: int
    digest: str
    base_digest: str
    trained_at: datetime


@dataclass(frozen=True, slots=True)
class ProjectedImage:
    """One image as scoring sees it."""

    taste_R: np.ndarray
    generic_A: np.ndarray


@dataclass(frozen=True, slots=True)
class Serving:
    """Enough to score some users and images without the database, all from one moment.

    An image is in `images` or, when it never can be scored, in `failed` with the reason; one that is in neither has
    no features yet.
    """

    base_model: BaseModelRow
    scorer: BaseScorer
    served: dict[UUID, ServedAdapter]  # by user
    adapters: dict[str, Adapter]  # by digest; only those for this base model
    priors: dict[str, TastePrior]  # by digest: those that the adapters started from
    images: dict[UUID, ProjectedImage]
    failed: dict[UUID, str]

    def adapter_of(self, user_id: UUID) -> Adapter | None:
        """The user's live adapter, None if there is none for this base model."""
        served = self.served.get(user_id)
        return self.adapters.get(served.digest) if served is not None else None


class ServingStore:
    """One process's memory of what it serves."""

    def __init__(self, database: Database, blobs: BlobStore, settings: Settings) -> None:
        self._database = database
        self._blobs = blobs
        self._settings = settings
        self._adapters: SizedCache[str, Adapter] = SizedCache(ADAPTERS_CACHE_BYTES)
        # Keyed by base model too: its digest covers the extractor and everything that is computed from features.
        self._images: SizedCache[tuple[str, UUID], ProjectedImage] = SizedCache(settings.features_cache_mb * 2**20)

    def load(self, user_ids: Collection[UUID], image_ids: Collection[UUID], *, with_priors: bool = False) -> Serving:
        """Everything that scoring these needs, in at most four queries, whatever their number; five with priors.

        Raises:
            Unavailable: no base model yet, or an artifact that is damaged.
            NotFound: a user was erased while this read.
        """
        with self._database.read_session() as session:
            base_model = base_models.default(session, self._settings)
            served = _served_adapters(session, user_ids)
            fitting = {s.digest: s.id for s in served.values() if s.base_digest == base_model.digest}
            adapters = self._read_adapters(session, fitting, base_model.digest)
            known = self._images.get_many((base_model.digest, image_id) for image_id in image_ids)
            images = {image_id: image for (_, image_id), image in known.items()}
            missing = [image_id for image_id in image_ids if image_id not in images]
            stored = _read_features(session, base_model.extractor_digest, missing) if missing else {}
            prior_rows = _prior_rows(session, adapters.values()) if with_priors else []
        scorer = base_models.load(self._blobs, base_model)
        priors = {row.digest: taste_priors.load(self._blobs, row) for row in prior_rows}
        projected, failed = self._project(scorer, stored)
        return Serving(base_model, scorer, served, adapters, priors, images | projected, failed)

    def _read_adapters(self, session: Session, wanted: dict[str, UUID], base_digest: str) -> dict[str, Adapter]:
        """Adapters by digest, from memory or from their rows.

        Args:
            wanted: digest to row id.
        """
        adapters = self._adapters.get_many(wanted)
        missing = [row_id for digest, row_id in wanted.items() if digest not in adapters]
        if missing:
            rows = session.execute(sa.select(AdapterRow.digest, AdapterRow.data).where(AdapterRow.id.in_(missing)))
            for digest, data in rows:
                adapters[digest] = _verified(digest, data, base_digest)
                self._adapters.put(digest, adapters[digest], len(data) + ENTRY_OVERHEAD_BYTES)
        if gone := wanted.keys() - adapters.keys():
            raise NotFound(f"{len(gone)} user(s) were erased while scores were computed")
        return adapters

    def _project(
        self, scorer: BaseScorer, stored: dict[UUID, StoredFeatures]
    ) -> tuple[dict[UUID, ProjectedImage], dict[UUID, str]]:
        """Every image that can be scored, and the error of each that never will be."""
        failed: dict[UUID, str] = {}
        usable: dict[UUID, np.ndarray] = {}
        for image_id, (data, error) in stored.items():
            if data is None:
                failed[image_id] = error or "no features"
            elif len(data) != 2 * scorer.feature_dim:
                failed[image_id] = f"its features are {len(data)} bytes, not {scorer.feature_dim} float16 numbers"
            elif not np.isfinite(features_D := np.frombuffer(data, np.float16)).all():
                failed[image_id] = "its features are not finite"
            else:
                usable[image_id] = features_D
        projected: dict[UUID, ProjectedImage] = {}
        image_ids = list(usable)
        for start in range(0, len(image_ids), PROJECT_BATCH):
            batch = image_ids[start : start + PROJECT_BATCH]
            taste_BR = scorer.project(np.stack([usable[image_id] for image_id in batch]))
            for image_id, taste_R, generic_A in zip(batch, taste_BR, scorer.generic(taste_BR), strict=True):
                image = ProjectedImage(taste_R.copy(), generic_A.copy())  # a view would keep the whole batch alive
                projected[image_id] = image
                size_bytes = image.taste_R.nbytes + image.generic_A.nbytes + ENTRY_OVERHEAD_BYTES
                self._images.put((scorer.digest, image_id), image, size_bytes)
        return projected, failed


def _served_adapters(session: Session, user_ids: Collection[UUID]) -> dict[UUID, ServedAdapter]:
    """The live version of every user who has one: one statement, so one moment."""
    rows = session.execute(
        sa.select(
            AdapterRow.user_id,
            AdapterRow.id,
            AdapterRow.number,
            AdapterRow.digest,
            BaseModelRow.digest,
            AdapterRow.created_at,
        )
        .join(BaseModelRow, BaseModelRow.id == AdapterRow.base_model_id)
        .where(AdapterRow.user_id.in_(user_ids), AdapterRow.state == AdapterState.ACTIVE)
    )
    return {
        user_id: ServedAdapter(row_id, number, digest, base_digest, created_at)
        for user_id, row_id, number, digest, base_digest, created_at in rows
    }


def _prior_rows(session: Session, adapters: Collection[Adapter]) -> list[TastePriorRow]:
    digests = {
        adapter.uncertainty.prior_digest
        for adapter in adapters
        if isinstance(adapter, TasteVector) and adapter.uncertainty and adapter.uncertainty.prior_digest
    }
    if not digests:
        return []
    return list(session.execute(sa.select(TastePriorRow).where(TastePriorRow.digest.in_(digests))).scalars())


def _read_features(session: Session, extractor_digest: str, image_ids: Collection[UUID]) -> dict[UUID, StoredFeatures]:
    rows = session.execute(
        sa.select(FeaturesRow.image_id, FeaturesRow.data, FeaturesRow.error).where(
            FeaturesRow.extractor_digest == extractor_digest, FeaturesRow.image_id.in_(image_ids)
        )
    )
    return {image_id: (data, error) for image_id, data, error in rows}


def _verified(digest: str, data: bytes, base_digest: str) -> Adapter:
    """The adapter in these bytes.

    Raises:
        Unavailable: they are not the bytes that were stored, or made for another base model.
    """
    if sha256_hex(data) != digest:
        raise Unavailable(f"adapter {digest} is damaged: its {len(data)} bytes have another digest")
    try:
        adapter = adapter_from_bytes(data)
    except InvalidInput as error:  # ours to keep whole, not the caller's to repair
        raise Unavailable(f"adapter {digest} cannot be read: {error}") from error
    if adapter.base_digest != base_digest:
        raise Unavailable(f"adapter {digest} was made for base model {adapter.base_digest}, not {base_digest}")
    return adapter
