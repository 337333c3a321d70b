"""Scores of images by any version of one user's adapter: what a version gave, or would give if it were active.

Shape letters: N = images, R = taste space dim, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from paaplus.db.engine import Database
from paaplus.errors import Conflict, Damaged
from paaplus.ids import sha256_hex
from paaplus.scoring.adapters import Adapter, adapter_from_bytes
from paaplus.services.adapters import versions
from paaplus.services.predictions.serving_store import ServingStore


@dataclass(frozen=True)
class VersionScores:
    """Scores on one aspect, 0-10, by image. `before` and `after` are of two versions, None of the base model."""

    image_ids: list[UUID]
    before_N: np.ndarray
    after_N: np.ndarray

    def most_changed(self, count: int) -> list[tuple[UUID, float, float]]:
        """The images whose scores differ most: (image, before, after)."""
        order = np.argsort(-np.abs(self.after_N - self.before_N), kind="stable")[:count]
        return [(self.image_ids[i], float(self.before_N[i]), float(self.after_N[i])) for i in order]


def compare(
    database: Database,
    store: ServingStore,
    user_id: UUID,
    image_ids: Sequence[UUID],
    before: int | None,
    after: int | None,
) -> VersionScores:
    """Scores of the images that have features, by two versions.

    Args:
        before: number of a version; None: the base model's generic scores.
        after: the same.

    Raises:
        NotFound: the user has no version of that number.
        Conflict: a version is for another base model than the one that is served now.
        Unavailable: there is no base model, or the version is damaged.
    """
    serving = store.load((user_id,), set(image_ids))
    known = [image_id for image_id in image_ids if image_id in serving.images]
    if not known:
        return VersionScores([], np.empty(0), np.empty(0))
    images_N = serving.images_of(user_id, known)
    taste_NR = np.stack([image.taste_R for image in images_N])
    generic_NA = np.stack([image.generic_A for image in images_N])
    scores = []
    for number in (before, after):
        if number is None:
            scores.append(generic_NA[:, 0])
            continue
        adapter = adapter_of_version(database, serving.base_model.digest, user_id, number)
        scores.append(adapter.score(taste_NR, generic_NA)[:, 0])
    return VersionScores(known, scores[0].astype(np.float64), scores[1].astype(np.float64))


def adapter_of_version(database: Database, base_digest: str, user_id: UUID, number: int) -> Adapter:
    """A version's adapter, for the base model that is served now.

    Raises:
        NotFound: the user has no version of that number.
        Conflict: it is for another base model.
        Damaged: its bytes have another digest than when they were written.
    """
    with database.read_session() as session:
        row = versions.get_version(session, user_id, number)
        data, digest = row.data, row.digest
    if sha256_hex(data) != digest:
        raise Damaged(f"version {number} of user {user_id} is damaged: its {len(data)} bytes have another digest")
    adapter = adapter_from_bytes(data)
    if adapter.base_digest != base_digest:
        raise Conflict(f"version {number} is for another base model than the one that is served now")
    return adapter
