"""Predictions: each user's own scores of images, with a receipt of what said them.

Rows are read in one transaction, scores computed in none, receipts written in a second one before anything is
answered. Scores are row-wise all the way: an item has the same bits alone and in any batch.
Shape letters: N = images of one user, R = taste space dim, A = aspects.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, BaseModelRow, FeaturesRow, ImageRow, PredictionReceiptRow
from paaplus.db.tables.models import AdapterState
from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput, NotFound, Unavailable
from paaplus.ids import new_id, sha256_hex
from paaplus.scoring.adapters import Adapter, adapter_from_bytes
from paaplus.scoring.base import BaseScorer
from paaplus.services import base_models, images, users
from paaplus.services.caches import SizedCache
from paaplus.services.keys import Principal
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

ENTRY_OVERHEAD_BYTES: Final = 400  # two array headers, a key, a place in the order
ADAPTERS_CACHE_BYTES: Final = 64 * 2**20
PROJECT_BATCH: Final = 1024  # images that are projected at once: bounds the memory, not the result


@dataclass(frozen=True, slots=True)
class Target:
    """One user and one image that exist, and whom the caller may see."""

    user_id: UUID
    image_id: UUID


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """The version that is live for a user."""

    id: UUID
    number: int
    digest: str
    base_digest: str
    trained_at: datetime


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer. Scores are 0-10 by aspect, None unless `status` is "scored".

    `source` says what they come from; "base" always with its reason: the user has no adapter yet, or one that
    was trained for another base model, which is never mixed with this one.
    """

    user_id: UUID
    image_id: UUID
    status: Literal["scored", "pending", "failed"]
    scores: dict[str, float] | None = None
    generic: dict[str, float] | None = None
    source: Literal["adapter", "base"] | None = None
    source_reason: Literal["active_adapter", "no_adapter", "adapter_of_another_base_model"] | None = None
    adapter: ServedAdapter | None = None
    receipt_id: UUID | None = None
    job_id: UUID | None = None
    retry_after_s: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """All answers of one call, in the order asked, and the base model under them."""

    items: list[Prediction]
    base_model: BaseModelRow

    @property
    def num_pending(self) -> int:
        return sum(item.status == "pending" for item in self.items)


@dataclass(frozen=True, slots=True)
class _Projected:
    """One image as scoring sees it."""

    taste_R: np.ndarray
    generic_A: np.ndarray


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What one transaction read: enough to score without the database."""

    base_model: BaseModelRow
    served: dict[UUID, ServedAdapter]  # by user
    adapters: dict[str, Adapter]  # by digest
    projected: dict[UUID, _Projected]  # by image, from the cache
    features: dict[UUID, tuple[bytes | None, str | None]]  # by image, what the cache lacks


class Predictor:
    """Scores for one process, with its caches of what cannot change: projected images and adapters."""

    def __init__(self, database: Database, blobs: BlobStore, settings: Settings) -> None:
        self._database = database
        self._blobs = blobs
        self._settings = settings
        self._projected: SizedCache[tuple[str, UUID], _Projected] = SizedCache(settings.features_cache_mb * 2**20)
        self._adapters: SizedCache[str, Adapter] = SizedCache(ADAPTERS_CACHE_BYTES)

    def resolve(self, principal: Principal, wanted: Sequence[tuple[str, UUID]]) -> list[Target]:
        """The users and images that are named, in the order asked.

        Args:
            wanted: (user reference, image id) pairs.

        Raises:
            NotFound: one of them does not exist, or not for this principal; the message names it.
        """
        with self._database.read_session() as session:
            found_users = users.resolve_many(session, principal, {ref for ref, _ in wanted})
            rows = session.execute(
                sa.select(ImageRow.id, ImageRow.application).where(
                    ImageRow.id.in_({image_id for _, image_id in wanted}), images.visible_images(principal)
                )
            )
            applications = {row.id: row.application for row in rows}
        targets = []
        for ref, image_id in wanted:
            user = found_users.get(ref)
            if user is None:
                raise NotFound(f"user {ref!r} does not exist")
            if image_id not in applications:
                raise NotFound(f"image {image_id} does not exist")
            if applications[image_id] != user.application:
                raise NotFound(f"image {image_id} does not exist in application {user.application!r} of user {ref!r}")
            targets.append(Target(user.id, image_id))
        return targets

    def request_missing(self, targets: Sequence[Target]) -> bool:
        """Ask a worker for the features that are missing; whether any is."""
        with self._database.session() as session:
            return images.request_features(session, {t.image_id for t in targets}, self._settings) is not None

    def is_waiting(self, targets: Sequence[Target]) -> bool:
        """Whether any image is still without features."""
        with self._database.read_session() as session:
            states = images.feature_states(session, {t.image_id for t in targets}, self._settings)
        return any(state.state == "pending" for state in states.values())

    def answer(self, targets: Sequence[Target]) -> Answer:
        """Score what can be scored now; the rest is pending, with the job that it waits for.

        Raises:
            NotFound: a user or an image was erased meanwhile.
            Unavailable: no base model yet, or an artifact that is damaged.
        """
        loaded = self._load(targets)
        scorer = base_models.load(self._blobs, loaded.base_model)
        projected, failed = self._project(scorer, loaded)
        scores = _score(scorer, loaded, projected, targets)
        return Answer(self._record(targets, loaded, projected, failed, scores), loaded.base_model)

    def _load(self, targets: Sequence[Target]) -> _Loaded:
        image_ids = {t.image_id for t in targets}
        with self._database.read_session() as session:
            base_model = base_models.default(session, self._settings)
            served = _served_adapters(session, {t.user_id for t in targets})
            fitting = {s.digest: s.id for s in served.values() if s.base_digest == base_model.digest}
            adapters = self._read_adapters(session, fitting, base_model.digest)
            cached = self._projected.get_many((base_model.digest, image_id) for image_id in image_ids)
            projected = {image_id: entry for (_, image_id), entry in cached.items()}
            features = _read_features(session, base_model.extractor_digest, image_ids - projected.keys())
        return _Loaded(base_model, served, adapters, projected, features)

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
            raise NotFound(f"{len(gone)} adapter(s) were erased while scores were computed")
        return adapters

    def _project(self, scorer: BaseScorer, loaded: _Loaded) -> tuple[dict[UUID, _Projected], dict[UUID, str]]:
        """Every image that can be scored, and the error of each that never will be."""
        projected, failed = dict(loaded.projected), {}
        usable: dict[UUID, np.ndarray] = {}
        for image_id, (data, error) in loaded.features.items():
            if data is None:
                failed[image_id] = error or "no features"
            elif len(data) != 2 * scorer.feature_dim:
                failed[image_id] = f"its features are {len(data)} bytes, not {scorer.feature_dim} float16 numbers"
            elif not np.isfinite(features_D := np.frombuffer(data, np.float16)).all():
                failed[image_id] = "its features are not finite"
            else:
                usable[image_id] = features_D
        image_ids = list(usable)
        for start in range(0, len(image_ids), PROJECT_BATCH):
            some = image_ids[start : start + PROJECT_BATCH]
            taste_BR = scorer.project(np.stack([usable[image_id] for image_id in some]))
            for image_id, taste_R, generic_A in zip(some, taste_BR, scorer.generic(taste_BR), strict=True):
                entry = _Projected(taste_R.copy(), generic_A.copy())  # a view would keep the whole batch alive
                projected[image_id] = entry
                size_bytes = entry.taste_R.nbytes + entry.generic_A.nbytes + ENTRY_OVERHEAD_BYTES
                self._projected.put((loaded.base_model.digest, image_id), entry, size_bytes)
        return projected, failed

    def _record(
        self,
        targets: Sequence[Target],
        loaded: _Loaded,
        projected: dict[UUID, _Projected],
        failed: dict[UUID, str],
        scores: dict[int, np.ndarray],
    ) -> list[Prediction]:
        """Write the receipts, ask for missing features, and put the answers in order."""
        aspects, now = loaded.base_model.aspects, utcnow()
        pending = {t.image_id for t in targets} - projected.keys() - failed.keys()
        items: list[Prediction] = []
        receipts: list[dict[str, Any]] = []
        try:
            with self._database.session() as session:
                job_id = images.request_features(session, pending, self._settings) if pending else None
                for position, target in enumerate(targets):
                    if target.image_id in failed:
                        item = Prediction(target.user_id, target.image_id, "failed", error=failed[target.image_id])
                    elif target.image_id in pending:
                        item = Prediction(
                            target.user_id,
                            target.image_id,
                            "pending",
                            job_id=job_id,
                            retry_after_s=math.ceil(self._settings.scan_interval_s),
                        )
                    else:
                        generic_A = projected[target.image_id].generic_A
                        item = _scored(target, loaded, aspects, scores[position], generic_A)
                        receipts.append(_receipt(item, loaded.base_model.id, now))
                    items.append(item)
                if receipts:  # with nulls: left out, each run of rows that have none would be a statement of its own
                    session.execute(
                        sa.insert(PredictionReceiptRow), receipts, execution_options={"render_nulls": True}
                    )
        except IntegrityError as error:
            raise NotFound("a user or an image was erased while scores were computed") from error
        return items


def _served_adapters(session: Session, user_ids: Iterable[UUID]) -> dict[UUID, ServedAdapter]:
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
        .where(AdapterRow.user_id.in_(list(user_ids)), AdapterRow.state == AdapterState.ACTIVE)
    )
    return {
        user_id: ServedAdapter(row_id, number, digest, base_digest, created_at)
        for user_id, row_id, number, digest, base_digest, created_at in rows
    }


def _read_features(
    session: Session, extractor_digest: str, image_ids: set[UUID]
) -> dict[UUID, tuple[bytes | None, str | None]]:
    if not image_ids:
        return {}
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


def _score(
    scorer: BaseScorer, loaded: _Loaded, projected: dict[UUID, _Projected], targets: Sequence[Target]
) -> dict[int, np.ndarray]:
    """Scores by position in `targets`, shape (A,) each, user by user."""
    positions: dict[UUID, list[int]] = defaultdict(list)
    for position, target in enumerate(targets):
        if target.image_id in projected:
            positions[target.user_id].append(position)
    scores: dict[int, np.ndarray] = {}
    for user_id, places in positions.items():
        entries = [projected[targets[place].image_id] for place in places]
        generic_NA = np.stack([entry.generic_A for entry in entries])
        adapter = _fitting(loaded, user_id)
        if adapter is None:
            score_NA = generic_NA
        else:
            score_NA = adapter.score(np.stack([entry.taste_R for entry in entries]), generic_NA)
        scores.update(zip(places, score_NA, strict=True))
    return scores


def _fitting(loaded: _Loaded, user_id: UUID) -> Adapter | None:
    served = loaded.served.get(user_id)
    if served is None or served.base_digest != loaded.base_model.digest:
        return None
    return loaded.adapters[served.digest]


def _scored(
    target: Target, loaded: _Loaded, aspects: list[str], score_A: np.ndarray, generic_A: np.ndarray
) -> Prediction:
    served = loaded.served.get(target.user_id)
    fits = _fitting(loaded, target.user_id) is not None
    base_reason: Literal["no_adapter", "adapter_of_another_base_model"] = (
        "no_adapter" if served is None else "adapter_of_another_base_model"
    )
    return Prediction(
        target.user_id,
        target.image_id,
        "scored",
        scores=dict(zip(aspects, score_A.tolist(), strict=True)),
        generic=dict(zip(aspects, generic_A.tolist(), strict=True)),
        source="adapter" if fits else "base",
        source_reason="active_adapter" if fits else base_reason,
        adapter=served if fits else None,
        receipt_id=new_id(),
    )


def _receipt(item: Prediction, base_model_id: UUID, now: datetime) -> dict[str, Any]:
    return {
        "id": item.receipt_id,
        "user_id": item.user_id,
        "image_id": item.image_id,
        "base_model_id": base_model_id,
        "adapter_id": item.adapter.id if item.adapter is not None else None,
        "scores": item.scores,
        "created_at": now,
    }
