"""Predictions: scores of images for users, with receipts.

What is read, and what is known of users (`residents`), is of one moment. Scores are computed outside any transaction,
and nothing is written unless features are missing. Every product is made item by item, so an item's score is
bit-identical alone and in any batch.
Shape letters: N = images of one user, or items of one call; R = taste space dim, A = aspects.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from functools import cached_property
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa
import structlog
from sqlalchemy.exc import OperationalError

from paaplus.db.engine import Database, is_disk_full
from paaplus.db.tables import ImageRow
from paaplus.db.types import utcnow
from paaplus.errors import NotFound
from paaplus.receipts import Signer
from paaplus.scoring.adapters import Adapter, TasteVector
from paaplus.scoring.together import score_together
from paaplus.services.images import images
from paaplus.services.images.features import delete_damaged
from paaplus.services.predictions import active_versions, receipts
from paaplus.services.predictions.answers import (
    Answer,
    Asked,
    Prediction,
    ScoredColumns,
    Target,
    UserScores,
    by_user,
    source_of,
)
from paaplus.services.predictions.confidence import Confidence, confidences
from paaplus.services.predictions.known_scores import by_identity, score_known
from paaplus.services.predictions.serving import ProjectedImage, Serving, UsedPreference
from paaplus.services.predictions.serving_store import Known, ServingStore
from paaplus.services.users import users
from paaplus.services.users.keys import Principal
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

FEW_ITEMS: Final = 16  # receipts of fewer are written one by one

log = structlog.get_logger(__name__)


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

    def prepare(self) -> None:
        """Make or read the key of receipts, so that no prediction has to write."""
        _ = self.signer

    @cached_property
    def signer(self) -> Signer:
        """Signs and checks receipts."""
        return receipts.signer(self._database)

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
        return images.ensure_requested(self._database, {t.image_id for t in targets}, self._settings) is not None

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
            with_receipts: sign a receipt of each score, which a correction can name.

        Raises:
            Unavailable: no base model yet, or the base model is damaged.
        """
        asked = by_user([(target.user_id, target.image_id) for target in targets])
        image_ids = {target.image_id for target in targets}
        serving = self._store.load({user_id for user_id, _, _ in asked}, image_ids, with_priors=with_confidence)
        return self._scored(serving, asked, with_confidence, with_receipts)

    def answer_references(
        self,
        principal: Principal,
        wanted: Sequence[tuple[str, UUID]],
        *,
        with_confidence: bool = False,
        with_receipts: bool = True,
    ) -> Answer:
        """As `answer`, of (user reference, image id) pairs: all that is read is of one moment.

        Raises:
            NotFound: a user or an image does not exist for this principal; the message names it.
            Unavailable: no base model yet, or the base model is damaged.
        """
        return self.answer_asked(
            principal, by_user(wanted), with_confidence=with_confidence, with_receipts=with_receipts
        )

    def answer_asked(
        self,
        principal: Principal,
        asked: Sequence[Asked],
        *,
        with_confidence: bool = False,
        with_receipts: bool = True,
    ) -> Answer:
        """As `answer_references`, of items by user. Each reference occurs once."""
        read = self._read(principal, asked, with_confidence) if principal.application is not None else None
        if isinstance(read, Known):
            return self._answer_known(read, asked, with_receipts)
        if read is None:  # something does not exist, and is named; or an admin asks, whose users are of any application
            pairs = {
                place: (user, i)
                for user, image_ids, places in asked
                for place, i in zip(places, image_ids, strict=True)
            }
            targets = self.resolve(principal, [pairs[place] for place in range(len(pairs))])
            return self.answer(targets, with_confidence=with_confidence, with_receipts=with_receipts)
        return self._scored(*read, with_confidence, with_receipts)

    def _read(
        self, principal: Principal, asked: Sequence[Asked], with_priors: bool
    ) -> Known | tuple[Serving, list[Asked]] | None:
        """What scoring needs, in one transaction; None: a user or an image does not exist for this principal."""
        refs = list(map(itemgetter(0), asked))
        image_ids = dict.fromkeys(chain.from_iterable(by_identity(asked).values()))
        application, since = principal.application, self._store.position
        with self._database.read_connection() as connection:
            # A key of one user sees no other, so its references are looked up with that.
            if application is not None and principal.user_id is None and image_ids and not with_priors:
                known = self._store.read_known(connection, since, application, refs, image_ids)
                if known is not None:
                    return known
            found = active_versions.of_references(connection, principal, refs)
            if len(found) < len(refs) or not images.are_visible(connection, principal, image_ids):
                return None
            active = {row[0]: row for row in found.values()}  # one may be asked for by id and by name
            serving = self._store.read(connection, active.values(), image_ids, with_priors=with_priors)
        ids = dict(zip(active, serving.user_ids, strict=True))
        of_users = [(ids[found[user][0]], image_ids, places) for user, image_ids, places in asked]
        return serving, of_users if len(ids) == len(of_users) else _joined(of_users)

    def _answer_known(self, known: Known, asked: Sequence[Asked], with_receipts: bool) -> Answer:
        """Score by numbers alone, and sign receipts."""
        score_NA, generic_NA = score_known(known, asked)
        scored = ScoredColumns(known.users, asked, known.images, score_NA, generic_NA)
        if with_receipts:
            scored.receipts_N = self._sign_known(known, asked, score_NA)
        return Answer(known.base_model, len(score_NA), scored, {}, is_plain=True)

    def _sign_known(self, known: Known, asked: Sequence[Asked], score_NA: np.ndarray) -> list[str]:
        base_id, users = known.base_model.id, known.users
        if len(score_NA) < FEW_ITEMS:
            of_items = [
                (user, version, image_id.bytes)
                for user, version, (_, image_ids, _) in zip(
                    users.user_bytes(), users.version_bytes(), asked, strict=True
                )
                for image_id in image_ids
            ]
            users_N, versions_N, images_N = zip(*of_items, strict=True) if of_items else ((), (), ())
            return self.signer.sign_each(base_id, utcnow(), users_N, versions_N, images_N, score_NA.tolist())
        model_U, is_of_base_U = users.models(base_id.bytes)
        of_lists = {
            key: np.frombuffer(b"".join([image_id.bytes for image_id in image_ids]), "V16")
            for key, image_ids in by_identity(asked).items()
        }
        user_U, num_U = users.record_U["user"], [len(image_ids) for _, image_ids, _ in asked]
        if len(of_lists) == 1 and num_U[0] == 1:
            [image_N] = of_lists.values()  # the same for all
        else:
            image_N = np.concatenate([of_lists[id(image_ids)] for _, image_ids, _ in asked])
            user_U, model_U, is_of_base_U = (np.repeat(each, num_U) for each in (user_U, model_U, is_of_base_U))
        return self.signer.sign_columns(utcnow(), user_U, model_U, is_of_base_U, image_N, score_NA)

    def _scored(self, serving: Serving, asked: Sequence[Asked], with_confidence: bool, with_receipts: bool) -> Answer:
        """Compute scores, sign receipts, and request missing features."""
        scored = _score(serving, asked)
        if with_receipts:
            self._sign(serving, scored)
        if with_confidence:
            for user in scored:
                user.confidences = _confidences(serving, user)
        num_items = sum([len(places) for _, _, places in asked])
        unscored = {}
        if sum([len(user.places) for user in scored]) < num_items:
            unscored = self._unscored(serving, asked, {place for user in scored for place in user.places})
        is_plain = not (with_confidence or _has_details(serving))
        return Answer(serving.base_model, num_items, scored, unscored, is_plain)

    def _sign(self, serving: Serving, scored: list[UserScores]) -> None:
        users_N: list[bytes] = []
        versions_N: list[bytes | None] = []
        images_N: list[bytes] = []
        score_NA: list[list[float]] = []
        of_lists: dict[int, list[bytes]] = {}  # by list of image ids
        for user in scored:
            num, version = len(user.places), user.adapter
            users_N += [version.parts.user_bytes if version is not None else user.user_id.bytes] * num
            versions_N += [version.parts.version_bytes if version is not None else None] * num
            if id(user.image_ids) not in of_lists:
                of_lists[id(user.image_ids)] = [image_id.bytes for image_id in user.image_ids]
            images_N += of_lists[id(user.image_ids)]
            score_NA += user.score_NA
        details_N = chain.from_iterable(map(_details_of, scored)) if _has_details(serving) else repeat(None)
        receipts = self.signer.sign_each(
            serving.base_model.id, utcnow(), users_N, versions_N, images_N, score_NA, details_N
        )
        start = 0
        for user in scored:
            end = start + len(user.places)
            user.receipts = receipts[start:end]
            start = end

    def _unscored(self, serving: Serving, asked: Sequence[Asked], scored: set[int]) -> dict[int, Prediction]:
        """By place, the predictions of items without a score; those that are pending wait for the job."""
        pending = {i for _, image_ids, _ in asked for i in image_ids} - serving.images.keys() - serving.failed.keys()
        retry_after_s = math.ceil(self._settings.scan_interval_s)
        job_id = None
        if pending or serving.damaged:
            try:
                job_id = self.request_again(serving, pending)
            except OperationalError as failure:
                if not is_disk_full(failure):
                    raise
                log.error("features_not_requested", num_images=len(pending), error="the disk is full")
        return {
            place: _unscored(Target(user_id, image_id), serving, job_id, retry_after_s)
            for user_id, image_ids, places in asked
            for place, image_id in zip(places, image_ids, strict=True)
            if place not in scored
        }

    def request_again(self, serving: Serving, image_ids: set[UUID]) -> UUID | None:
        """The job that extracts the features of these images, and those that are damaged again."""
        if not serving.damaged:
            return images.ensure_requested(self._database, image_ids, self._settings) if image_ids else None
        with self._database.session() as session:
            delete_damaged(session, serving.base_model.extractor_digest, serving.damaged)
            return images.request_features(session, image_ids, self._settings) if image_ids else None


def _joined(asked: Sequence[Asked]) -> list[Asked]:
    """What is asked of each user, where one is named both by id and by name."""
    of_one: dict[UUID, tuple[list[UUID], list[int]]] = {}
    for user_id, image_ids, places in asked:
        all_ids, all_places = of_one.setdefault(user_id, ([], []))
        all_ids += image_ids
        all_places += places
    return [(user_id, *lists) for user_id, lists in of_one.items()]


def _score(serving: Serving, asked: Sequence[Asked]) -> list[UserScores]:
    """Scores of the items that can be scored, by user."""
    adapters_N: list[Adapter | None] = []
    images_N: list[ProjectedImage] = []
    scored = []
    shared: dict[int, list[ProjectedImage] | None] = {}  # by list of image ids; None: some cannot be scored
    versions, damaged, preferences = serving.versions, serving.damaged_adapters, serving.preferences
    for user_id, image_ids, places in asked:
        if damaged and user_id in damaged:
            continue
        if (known := id(image_ids)) not in shared:
            found = [serving.images.get(image_id) for image_id in image_ids]
            shared[known] = None if None in found else found  # type: ignore[assignment]  # there is no None
        of_user = shared[known]
        if of_user is None:
            places = [place for place, i in zip(places, image_ids, strict=True) if i in serving.images]
            image_ids = [i for i in image_ids if i in serving.images]
            if not places:
                continue
        preference = preferences.get(user_id) if preferences else None
        if of_user is None or preference is not None:
            of_user = serving.images_of(user_id, image_ids)
        facts, adapter = versions.get(user_id, _NO_VERSION)
        adapters_N += [adapter] * len(places)
        images_N += of_user
        source, reason = source_of(facts, False) if facts is None or adapter is None else facts.source
        of_version = facts if adapter is not None else None
        scored.append(UserScores(user_id, source, reason, of_version, preference, places, image_ids, of_user, [], []))
    if not scored:
        return []
    generic_NA = np.concatenate([image.generic_A for image in images_N]).reshape(len(images_N), -1)
    generic = generic_NA.tolist()
    scores = score_together(adapters_N, [image.taste_R for image in images_N], generic_NA).tolist()
    start = 0
    for user in scored:
        end = start + len(user.places)
        user.score_NA, user.generic_NA = scores[start:end], generic[start:end]
        start = end
    return scored


_NO_VERSION: Final = (None, None)


def _confidences(serving: Serving, user: UserScores) -> list[Confidence] | None:
    """Confidences of the user's items; None: the adapter has no uncertainty."""
    adapter = serving.adapter_of(user.user_id)
    prior = None
    if isinstance(adapter, TasteVector) and adapter.uncertainty and adapter.uncertainty.prior_digest:
        prior = serving.priors.get(adapter.uncertainty.prior_digest)
        if prior is None:  # deleted with an expert; the uncertainty is in its coordinates
            return None
    taste_NR = np.stack([image.taste_R for image in user.images])
    generic_NA = np.stack([image.generic_A for image in user.images])
    return confidences(serving.scorer, adapter, prior, taste_NR, generic_NA)


def _unscored(target: Target, serving: Serving, job_id: UUID | None, retry_after_s: int) -> Prediction:
    error = serving.damaged_adapters.get(target.user_id) or serving.failed.get(target.image_id)
    if error is not None:
        return Prediction(target.user_id, target.image_id, "failed", error=error)
    return Prediction(target.user_id, target.image_id, "pending", job_id=job_id, retry_after_s=retry_after_s)


def _has_details(serving: Serving) -> bool:
    """Whether any score may have a preference or branches behind it."""
    return serving.scorer.heads is not None or bool(serving.preferences)


def _details_of(user: UserScores) -> list[dict[str, Any] | None]:
    """Details behind the scores of each item."""
    return [_details(user.preference, image.branches) for image in user.images]


def _details(preference: UsedPreference | None, branches: tuple[str, ...] | None) -> dict[str, Any] | None:
    """Preference and branches behind the scores; None: neither."""
    details: dict[str, Any] = {}
    if preference is not None:
        details["preference"] = {"values": list(preference.values), "version": preference.version}
    if branches is not None:
        details["branches"] = list(branches)
    return details or None
