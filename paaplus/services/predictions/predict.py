"""Predictions: scores of images for users, with receipts.

Rows are read in one transaction, scores are computed outside any, and receipts are written in a second one before the
answer is sent. Every operation works row by row, so an item's score is bit-identical alone and in any batch.
Shape letters: N = images of one user, R = taste space dim, A = aspects.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal, cast
from uuid import UUID

import numpy as np
import sqlalchemy as sa
import structlog
from sqlalchemy.exc import IntegrityError, OperationalError

from paaplus.db.engine import Database, is_disk_full
from paaplus.db.tables import BaseModelRow, ImageRow, PredictionReceiptRow
from paaplus.db.tables.experts import MatchKind
from paaplus.db.types import utcnow
from paaplus.errors import NotFound
from paaplus.ids import new_id
from paaplus.scoring.adapters import TasteVector
from paaplus.services.images import images
from paaplus.services.images.features import delete_damaged
from paaplus.services.predictions.confidence import Confidence, confidences
from paaplus.services.predictions.serving import ServedAdapter, Serving, UsedPreference
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.users import users
from paaplus.services.users.keys import Principal
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

log = structlog.get_logger(__name__)

Source = Literal["adapter", "match", "base"]
SourceReason = Literal[
    "active_adapter",
    "matched_generic",
    "matched_expert",
    "matched_combination",
    "no_adapter",
    "adapter_of_another_base_model",
]
_MATCHED: Final[dict[MatchKind, SourceReason]] = {
    MatchKind.GENERIC: "matched_generic",
    MatchKind.EXPERT: "matched_expert",
    MatchKind.COMBINATION: "matched_combination",
}


@dataclass(frozen=True, slots=True)
class Target:
    """An existing user and image that the caller may see."""

    user_id: UUID
    image_id: UUID


@dataclass(frozen=True, slots=True)
class Prediction:
    """One prediction. Scores are 0-10 by aspect, None unless `status` is "scored".

    `source` is where the scores come from: "adapter" a trained version, "match" a version that a match made, "base"
    the base model. `source_reason` gives the details. An adapter for another base model is not used.
    """

    user_id: UUID
    image_id: UUID
    status: Literal["scored", "pending", "failed"]
    scores: dict[str, float] | None = None
    generic: dict[str, float] | None = None
    source: Source | None = None
    source_reason: SourceReason | None = None
    adapter: ServedAdapter | None = None
    preference: UsedPreference | None = None  # generic scores were computed with it; None: without one
    branches: tuple[str, ...] | None = None  # parts of the network that gave the features; None: unknown
    confidence: Confidence | None = None  # None also if it was not requested
    receipt_id: UUID | None = None
    job_id: UUID | None = None
    retry_after_s: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """All predictions of one call, in the order asked, and the base model that scored them.

    `receipts_stored` is False if the database had no room for receipts: then no correction can refer to the scores.
    """

    items: list[Prediction]
    base_model: BaseModelRow
    receipts_stored: bool = True

    @property
    def num_pending(self) -> int:
        return sum(item.status == "pending" for item in self.items)


class Predictor:
    """Makes predictions in one process."""

    def __init__(self, database: Database, blobs: BlobStore, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._store = ServingStore(database, blobs, settings)

    @property
    def store(self) -> ServingStore:
        """The store of projected images and adapters, for other services of this process."""
        return self._store

    def resolve(self, principal: Principal, wanted: Sequence[tuple[str, UUID]]) -> list[Target]:
        """Look up users and images, in the order asked.

        Args:
            wanted: (user reference, image id) pairs.

        Raises:
            NotFound: one of them does not exist for this principal; the message names it.
        """
        with self._database.read_session() as session:
            found_users = users.resolve_ids_and_applications(session, principal, {ref for ref, _ in wanted})
            rows = session.execute(
                sa.select(ImageRow.id, ImageRow.application).where(
                    ImageRow.id.in_({image_id for _, image_id in wanted}), images.visible_images(principal)
                )
            )
            applications = {row.id: row.application for row in rows}
        targets = []
        for ref, image_id in wanted:
            if ref not in found_users:
                raise NotFound(f"user {ref!r} does not exist")
            user_id, application = found_users[ref]
            if image_id not in applications:
                raise NotFound(f"image {image_id} does not exist")
            if applications[image_id] != application:
                raise NotFound(f"image {image_id} does not exist in application {application!r} of user {ref!r}")
            targets.append(Target(user_id, image_id))
        return targets

    def request_missing(self, targets: Sequence[Target]) -> bool:
        """Enqueue the extraction of missing features; returns whether any are missing."""
        with self._database.session() as session:
            return images.request_features(session, {t.image_id for t in targets}, self._settings) is not None

    def still_missing(self, image_ids: Collection[UUID]) -> set[UUID]:
        """Of these images, those that the extractor has not processed yet."""
        with self._database.read_session() as session:
            states = images.feature_states(session, image_ids, self._settings)
        return {image_id for image_id, state in states.items() if state.state == "pending"}

    def answer(self, targets: Sequence[Target], *, with_confidence: bool = False, with_receipts: bool = True) -> Answer:
        """Score the images that have features; the others are pending, with the job that extracts them.

        If an adapter is damaged, the items of its user fail, and the others are scored. If the stored features of an
        image are damaged, they are extracted again: until then the image is pending.

        Args:
            with_confidence: add the confidence of each score, if its adapter has an uncertainty.
            with_receipts: write a receipt of each score, which a correction can name.

        Raises:
            NotFound: a user or an image was erased meanwhile.
            Unavailable: no base model yet, or the base model is damaged.
        """
        wanted = {t.user_id for t in targets}, {t.image_id for t in targets}
        serving = self._store.load(*wanted, with_priors=with_confidence)
        places = _by_user(serving, targets)
        scores = _score(serving, targets, places)
        stored = True
        try:
            items = self._record(targets, serving, scores, with_receipts)
        except OperationalError as error:
            if not is_disk_full(error):
                raise
            log.error("receipts_not_stored", num_items=len(targets), error="the disk is full")
            stored = False
            retry_after_s = math.ceil(self._settings.scan_interval_s)
            items = _items(targets, serving, scores, None, retry_after_s, with_receipts=False)
        if with_confidence:
            found = _confidences(serving, targets, places)
            items = [replace(item, confidence=found.get(position)) for position, item in enumerate(items)]
        return Answer(items, serving.base_model, stored)

    def _record(
        self, targets: Sequence[Target], serving: Serving, scores: dict[int, np.ndarray], with_receipts: bool = True
    ) -> list[Prediction]:
        """Write the receipts, request missing features, and make the predictions, in the order of `targets`."""
        pending = {t.image_id for t in targets} - serving.images.keys() - serving.failed.keys()
        retry_after_s = math.ceil(self._settings.scan_interval_s)
        now = utcnow()
        job_id = self._requested(serving, pending) if pending or serving.damaged else None
        items = _items(targets, serving, scores, job_id, retry_after_s, with_receipts)
        receipts = [_receipt(item, serving.base_model.id, now) for item in items if item.receipt_id]
        if receipts:
            try:
                with self._database.session() as session:
                    session.connection().execute(sa.insert(cast(sa.Table, PredictionReceiptRow.__table__)), receipts)
            except IntegrityError as error:
                raise NotFound("a user or an image was erased while scores were computed") from error
        return items

    def _requested(self, serving: Serving, image_ids: set[UUID]) -> UUID | None:
        """The job that extracts the features of these images, and those that are damaged again."""
        with self._database.session() as session:
            if serving.damaged:
                delete_damaged(session, serving.base_model.extractor_digest, serving.damaged)
            return images.request_features(session, image_ids, self._settings) if image_ids else None


def _items(
    targets: Sequence[Target],
    serving: Serving,
    scores: dict[int, np.ndarray],
    job_id: UUID | None,
    retry_after_s: int,
    with_receipts: bool,
) -> list[Prediction]:
    """The predictions in the order of `targets`; those that are pending wait for the job."""
    return [
        _scored(target, serving, scores[position], with_receipts)
        if position in scores
        else _unscored(target, serving, job_id, retry_after_s)
        for position, target in enumerate(targets)
    ]


def _by_user(serving: Serving, targets: Sequence[Target]) -> dict[UUID, list[int]]:
    """By user, positions in `targets` of images that can be scored."""
    positions: dict[UUID, list[int]] = defaultdict(list)
    for position, target in enumerate(targets):
        if target.image_id in serving.images and target.user_id not in serving.damaged_adapters:
            positions[target.user_id].append(position)
    return positions


def _score(serving: Serving, targets: Sequence[Target], by_user: dict[UUID, list[int]]) -> dict[int, np.ndarray]:
    """Scores by position in `targets`, shape (A,) each; only of images that can be scored."""
    scores: dict[int, np.ndarray] = {}
    for user_id, places in by_user.items():
        taste_NR, score_NA = _images(serving, targets, places)
        adapter = serving.adapter_of(user_id)
        if adapter is not None:
            score_NA = adapter.score(taste_NR, score_NA)
        scores.update(zip(places, score_NA, strict=True))
    return scores


def _confidences(serving: Serving, targets: Sequence[Target], by_user: dict[UUID, list[int]]) -> dict[int, Confidence]:
    """Confidences by position in `targets`, without those whose adapter has no uncertainty."""
    by_place: dict[int, Confidence] = {}
    for user_id, places in by_user.items():
        adapter = serving.adapter_of(user_id)
        prior = None
        if isinstance(adapter, TasteVector) and adapter.uncertainty and adapter.uncertainty.prior_digest:
            prior = serving.priors.get(adapter.uncertainty.prior_digest)
            if prior is None:  # deleted with an expert; the uncertainty is in its coordinates
                continue
        found = confidences(serving.scorer, adapter, prior, *_images(serving, targets, places))
        by_place.update(zip(places, found or (), strict=False))
    return by_place


def _images(serving: Serving, targets: Sequence[Target], places: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Taste vectors (N, R) and generic scores (N, A) of the images at these positions of one user."""
    user_id = targets[places[0]].user_id
    images_N = serving.images_of(user_id, [targets[place].image_id for place in places])
    return np.stack([image.taste_R for image in images_N]), np.stack([image.generic_A for image in images_N])


def _scored(target: Target, serving: Serving, score_A: np.ndarray, with_receipt: bool) -> Prediction:
    served = serving.served.get(target.user_id)
    is_personal = serving.adapter_of(target.user_id) is not None
    source, reason = source_of(served, is_personal)
    [image] = serving.images_of(target.user_id, [target.image_id])
    aspects = serving.base_model.aspects
    return Prediction(
        target.user_id,
        target.image_id,
        "scored",
        scores=dict(zip(aspects, score_A.tolist(), strict=True)),
        generic=dict(zip(aspects, image.generic_A.tolist(), strict=True)),
        source=source,
        source_reason=reason,
        adapter=served if is_personal else None,
        preference=serving.preferences.get(target.user_id),
        branches=image.branches,
        receipt_id=new_id() if with_receipt else None,
    )


def source_of(served: ServedAdapter | None, is_personal: bool) -> tuple[Source, SourceReason]:
    """Where a user's scores come from, and why: `is_personal` if the active version is for the base model."""
    if served is None:
        return "base", "no_adapter"
    if not is_personal:
        return "base", "adapter_of_another_base_model"
    return ("adapter", "active_adapter") if served.matched is None else ("match", _MATCHED[served.matched])


def _unscored(target: Target, serving: Serving, job_id: UUID | None, retry_after_s: int) -> Prediction:
    error = serving.damaged_adapters.get(target.user_id) or serving.failed.get(target.image_id)
    if error is not None:
        return Prediction(target.user_id, target.image_id, "failed", error=error)
    return Prediction(target.user_id, target.image_id, "pending", job_id=job_id, retry_after_s=retry_after_s)


def _receipt(item: Prediction, base_model_id: UUID, now: datetime) -> dict[str, Any]:
    return {
        "id": item.receipt_id,
        "user_id": item.user_id,
        "image_id": item.image_id,
        "base_model_id": base_model_id,
        "adapter_id": item.adapter.id if item.adapter is not None else None,
        "scores": item.scores,
        "details": _details(item),
        "created_at": now,
    }


def _details(item: Prediction) -> dict[str, Any] | None:
    """Preference, branches and match behind the scores; None: none of them."""
    details: dict[str, Any] = {}
    if item.preference is not None:
        details["preference"] = {"values": list(item.preference.values), "version": item.preference.version}
    if item.branches is not None:
        details["branches"] = list(item.branches)
    if item.adapter is not None and item.adapter.match_id is not None:
        details["match"] = str(item.adapter.match_id)
    return details or None
