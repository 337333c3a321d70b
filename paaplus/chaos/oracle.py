"""Expected scores, computed from the rows alone: one image at a time, without cache and batch."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import AdapterRow, BaseModelRow, FeaturesRow
from paaplus.db.tables.models import AdapterState
from paaplus.ids import sha256_hex
from paaplus.scoring.adapters import Adapter, adapter_from_bytes
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.storage.blobs import BlobStore


class Oracle:
    """Scores by (user, version number, image), from one snapshot of the database."""

    def __init__(self, session: Session, blobs: BlobStore) -> None:
        base_row = session.execute(
            sa.select(BaseModelRow).where(BaseModelRow.retired_at.is_(None)).order_by(BaseModelRow.id.desc()).limit(1)
        ).scalar_one()
        self._base = BaseScorer.from_bytes(blobs.get(base_row.artifact_sha256))
        self._features: dict[UUID, bytes] = {
            image_id: data
            for image_id, data in session.execute(
                sa.select(FeaturesRow.image_id, FeaturesRow.data).where(
                    FeaturesRow.extractor_digest == base_row.extractor_digest, FeaturesRow.data.is_not(None)
                )
            )
            if data is not None
        }
        self._adapters: dict[tuple[UUID, int], Adapter] = {}
        self.damaged: list[str] = []
        self.served: dict[UUID, int] = {}  # number of each user's active version; users without one are missing
        rows = session.execute(
            sa.select(AdapterRow.user_id, AdapterRow.number, AdapterRow.digest, AdapterRow.data, AdapterRow.state)
        )
        for user_id, number, digest, data, state in rows:
            if sha256_hex(data) != digest:
                self.damaged.append(f"version {number} of user {user_id}")
            self._adapters[user_id, number] = adapter_from_bytes(data)
            if state == AdapterState.ACTIVE:
                self.served[user_id] = number
        self._known: dict[tuple[UUID, int, UUID], dict[str, float]] = {}

    def images(self) -> set[UUID]:
        """The images that can be scored."""
        return set(self._features)

    def scores(self, user_id: UUID, number: int, image_id: UUID) -> dict[str, float] | None:
        """Score by aspect; None if the version or the features do not exist."""
        key = (user_id, number, image_id)
        if key not in self._known:
            features, adapter = self._features.get(image_id), self._adapters.get((user_id, number))
            if features is None or (adapter is None and number != 0):
                return None
            taste_1R = self._base.project(np.frombuffer(features, np.float16)[None])
            score_1A = generic_1A = self._base.generic(taste_1R)
            if adapter is not None:
                score_1A = adapter.score(taste_1R, generic_1A)
            self._known[key] = dict(zip(self._base.aspects, score_1A[0].tolist(), strict=True))
        return self._known[key]
