"""Loads what scoring needs: active versions, base model, features, preferences.

Versions and projected images never change, so each process caches them. Which version is active is read from the
database every time, so no notice of a change is needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from sys import intern
from typing import Any, Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from paaplus.configs import MATCH_STRATEGY
from paaplus.db.engine import Database
from paaplus.db.lazy_session import LazySession
from paaplus.db.prepared import Prepared, as_uuid, listed, one_of
from paaplus.db.raw_values import document_of, moment_of
from paaplus.db.tables import AdapterRow, BaseModelRow, MatchRow, PreferenceRow, TastePriorRow
from paaplus.db.tables.experts import MatchKind
from paaplus.errors import Damaged, InvalidInput, NotFound
from paaplus.ids import sha256_hex
from paaplus.scoring.adapters import Adapter, TasteVector, adapter_from_bytes
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import HeadPrior, Prior
from paaplus.services.adapters import matches
from paaplus.services.images.features import read_features, sorted_features
from paaplus.services.predictions import active_versions
from paaplus.services.predictions.active_versions import ActiveVersion
from paaplus.services.predictions.cache import SizedCache
from paaplus.services.predictions.serving import (
    ImageKey,
    ProjectedImage,
    ServedAdapter,
    ServedVersion,
    Serving,
    UsedPreference,
    projected,
    size_bytes,
)
from paaplus.services.registry import base_models, taste_priors
from paaplus.services.surveys import preferences
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

PREFERENCE_VERSION: Final = "preference_version"  # key in a version's metrics: the version of the preference

VERSION_OVERHEAD_BYTES: Final = (
    2_000  # of a cached version: its facts as objects and texts, headers of its arrays, a key, a place; measured
)

VersionKey = tuple[Any, Any, str]  # version, its match, digest of the base model

log = structlog.get_logger(__name__)


class ServingStore:
    """Loads and caches what one process scores with."""

    def __init__(self, database: Database, blobs: BlobStore, settings: Settings) -> None:
        self._database = database
        self._blobs = blobs
        self._settings = settings
        self._defaults = base_models.DefaultBaseModel(settings)
        self._adapters: SizedCache[VersionKey, ServedVersion] = SizedCache(settings.adapters_cache_mb * 2**20)
        # The key has the base model's digest, which covers the extractor and everything computed from features.
        self._images: SizedCache[ImageKey, ProjectedImage] = SizedCache(settings.features_cache_mb * 2**20)

    @property
    def images(self) -> SizedCache[ImageKey, ProjectedImage]:
        """The projected images, which other readers of this process may share."""
        return self._images

    @property
    def caches(self) -> dict[str, SizedCache[Any, Any]]:
        """The caches by what they keep, for metrics."""
        return {"adapters": self._adapters, "images": self._images}

    def load(self, user_ids: Collection[UUID], image_ids: Collection[UUID], *, with_priors: bool = False) -> Serving:
        """Load what scoring these users and images needs, from one moment: see `read`.

        Raises:
            Unavailable: no base model yet, or the base model is damaged.
        """
        with self._database.read_connection() as connection:
            active: dict[UUID, ActiveVersion] = {user_id: (user_id, None, None) for user_id in user_ids}
            active |= {as_uuid(row[0]): row for row in active_versions.of_users(connection, user_ids)}
            return self.read(connection, active.values(), image_ids, with_priors=with_priors)

    def read(
        self,
        connection: sa.Connection,
        active: Collection[ActiveVersion],
        image_ids: Collection[UUID],
        *,
        with_priors: bool = False,
    ) -> Serving:
        """What scoring these users and images needs, in the caller's transaction.

        The number of queries does not depend on theirs: one if everything is known, and one more for each of: a new
        base model, versions and images that are not cached, priors, preferences.

        Args:
            connection: in a read transaction, which has seen `active`.
            active: the users with their active versions, each user once.
            image_ids: the images.
            with_priors: read also what the confidence of scores needs.

        Raises:
            Unavailable: no base model yet, or the base model is damaged.
        """
        base_model = self._defaults.read(connection)
        scorer = base_models.load(self._blobs, base_model)
        known = self._images.get_each([(base_model.digest, image_id, None) for image_id in image_ids])
        images = {image_id: image for image_id, image in zip(image_ids, known, strict=True) if image is not None}
        with LazySession(connection) as session:
            user_ids, versions, damaged = self._read_versions(connection, active, base_model.digest)
            used = _used_preferences(session.get(), scorer, user_ids, versions) if scorer.preference_dim else {}
            # A user's preference changes the projection, which needs the features again.
            missing = [image_id for image_id in image_ids if used or image_id not in images]
            stored = read_features(session.get(), base_model.extractor_digest, missing) if missing else []
            wanted = _prior_digests(versions.values()) if with_priors else set()
            priors = self._priors(scorer, wanted, *_prior_rows(session.get(), wanted)) if wanted else {}
        found = sorted_features(stored, scorer.feature_dim)
        features = found.usable
        if features:
            images |= self._project(scorer, {i: features_D for i, features_D in features.items() if i not in images})
        return Serving(
            base_model,
            scorer,
            user_ids,
            versions,
            priors,
            images,
            found.failed,
            preferences=used,
            features=features if used else {},
            damaged=[image_id for image_id in found.damaged if image_id not in images],
            damaged_adapters=damaged,
            own_images=self._images,
        )

    def _priors(
        self, scorer: BaseScorer, wanted: set[str], rows: list[TastePriorRow], of_matches: list[str]
    ) -> dict[str, Prior]:
        """The wanted priors by digest, without damaged ones, and without those that were deleted with an expert.

        A prior is needed for the confidence of scores only, so a damaged one does not stop the scores.
        """
        priors: dict[str, Prior] = {}
        for row in rows:
            with _logged_damage("taste_prior_damaged", row.digest):
                priors[row.digest] = taste_priors.load(self._blobs, row)
        for digest in of_matches:
            with _logged_damage("match_prior_damaged", digest):
                if (matched := matches.load_prior(self._blobs, digest)) is not None:
                    priors[digest] = matched
        if wanted - priors.keys() and (head := HeadPrior(scorer)).digest in wanted:
            priors[head.digest] = head
        return priors

    def _read_versions(
        self, connection: sa.Connection, active: Collection[ActiveVersion], base_digest: str
    ) -> tuple[list[UUID], dict[UUID, ServedVersion], dict[UUID, str]]:
        """The users in order; versions by user, from the cache or from their rows; and what is wrong with those that
        are damaged, by user.

        The adapter of a version for another base model is not read.
        """
        keys = [(adapter_id, match_id, base_digest) for _, adapter_id, match_id in active if adapter_id is not None]
        cached = iter(self._adapters.get_each(keys))
        user_ids: list[UUID] = []
        found: dict[UUID, ServedVersion] = {}
        missing: dict[UUID, VersionKey] = {}
        for user, adapter_id, match_id in active:
            known = next(cached) if adapter_id is not None else None
            user_id = known.facts.user_id if known is not None else as_uuid(user)
            user_ids.append(user_id)
            if known is not None:
                found[user_id] = known
            elif adapter_id is not None:
                missing[user_id] = adapter_id, match_id, base_digest
        damaged: dict[UUID, str] = {}
        if not missing:
            return user_ids, found, damaged
        ids = listed(connection, [as_uuid(adapter_id) for adapter_id, _, _ in missing.values()])
        for row in _VERSIONS.rows(connection, ids=ids):
            facts, data = _facts(row), row[-1]
            user_id = facts.user_id
            try:
                adapter = (
                    verified_adapter(facts.digest, data, base_digest) if facts.base_digest == base_digest else None
                )
            except Damaged as error:
                log.error("adapter_damaged", adapter_id=str(facts.id), error=str(error))
                found[user_id], damaged[user_id] = ServedVersion(facts, None), str(error)
                continue
            found[user_id] = version = ServedVersion(facts, adapter)
            size_of_numbers = len(data) if adapter is not None else 0
            self._adapters.put(missing[user_id], version, size_of_numbers + VERSION_OVERHEAD_BYTES)
        return user_ids, found, damaged

    def _project(self, scorer: BaseScorer, features: dict[UUID, np.ndarray]) -> dict[UUID, ProjectedImage]:
        """Project images without a user preference, and cache them."""
        found = dict(projected(scorer, list(features), features))
        for image_id, image in found.items():
            self._images.put((scorer.digest, image_id, None), image, size_bytes(image))
        return found


def _used_preferences(
    session: Session, scorer: BaseScorer, user_ids: Collection[UUID], versions: dict[UUID, ServedVersion]
) -> dict[UUID, UsedPreference]:
    """The preference that each user's generic scores are computed with; users without an effective one are left out.

    It is the one that the active version was trained with, so that a version always gives the same scores. Without an
    active version for this base model, it is the user's current preference.
    """
    used: dict[UUID, UsedPreference | None] = {
        user_id: version.facts.preference
        for user_id, version in versions.items()
        if version.facts.base_digest == scorer.digest
    }
    rows = session.execute(sa.select(PreferenceRow).where(PreferenceRow.user_id.in_(set(user_ids) - used.keys())))
    used |= {row.user_id: UsedPreference(tuple(row.preference), row.version) for row in rows.scalars()}
    return {
        user_id: preference
        for user_id, preference in used.items()
        if preference is not None and preferences.effective(scorer, preference.values) is not None
    }


def _versions_by_id(dialect: str) -> sa.Select[Any]:
    return (
        sa.select(
            AdapterRow.user_id,
            AdapterRow.id,
            AdapterRow.number,
            AdapterRow.digest,
            BaseModelRow.digest.label("base_digest"),
            AdapterRow.created_at,
            AdapterRow.match_id,
            AdapterRow.preference,
            AdapterRow.metrics[PREFERENCE_VERSION].as_integer().label("preference_version"),
            sa.case((AdapterRow.strategy == MATCH_STRATEGY, MatchRow.kind)).label("matched"),
            AdapterRow.data,
        )
        .join(BaseModelRow, BaseModelRow.id == AdapterRow.base_model_id)
        .join(MatchRow, MatchRow.id == AdapterRow.match_id, isouter=True)
        .where(AdapterRow.id.in_(one_of(dialect, "ids", sa.Uuid())))
    )


_VERSIONS: Final = Prepared(_versions_by_id)


def _facts(row: Any) -> ServedAdapter:
    """What an answer says of a row of `_VERSIONS`."""
    (
        user_id,
        version_id,
        number,
        digest,
        base_digest,
        created_at,
        match_id,
        preference,
        preference_version,
        matched,
        _,
    ) = row
    values = document_of(preference)
    trained_at = moment_of(created_at)
    assert trained_at is not None, "every version has a time"
    return ServedAdapter(
        as_uuid(user_id),
        as_uuid(version_id),
        number,
        digest,
        intern(base_digest),  # all versions share it
        trained_at,
        as_uuid(match_id) if match_id is not None else None,
        UsedPreference(tuple(values), preference_version) if values is not None else None,
        MatchKind(matched) if matched is not None else None,
    )


def _prior_digests(versions: Collection[ServedVersion]) -> set[str]:
    return {
        adapter.uncertainty.prior_digest
        for _, adapter in versions
        if isinstance(adapter, TasteVector) and adapter.uncertainty and adapter.uncertainty.prior_digest
    }


def _prior_rows(session: Session, digests: set[str]) -> tuple[list[TastePriorRow], list[str]]:
    """Rows of the registered priors, and the digests of the others that belong to matches."""
    rows = list(session.execute(sa.select(TastePriorRow).where(TastePriorRow.digest.in_(digests))).scalars())
    others = digests - {row.digest for row in rows}
    if not others:
        return rows, []
    query = sa.select(MatchRow.prior_digest).where(MatchRow.prior_digest.in_(others)).distinct()
    return rows, [digest for digest in session.execute(query).scalars() if digest is not None]


@contextmanager
def _logged_damage(event: str, digest: str) -> Iterator[None]:
    """Go on without what is damaged or gone."""
    try:
        yield
    except (Damaged, NotFound) as error:
        log.error(event, digest=digest, error=str(error))


def verified_adapter(digest: str, data: bytes, base_digest: str) -> Adapter:
    """Parse an adapter's stored bytes.

    Raises:
        Damaged: the bytes have changed, or the adapter is for another base model.
    """
    if sha256_hex(data) != digest:
        raise Damaged(f"adapter {digest} is damaged: its {len(data)} bytes have another digest")
    try:
        adapter = adapter_from_bytes(data)
    except InvalidInput as error:  # the platform's data, not the caller's input
        raise Damaged(f"adapter {digest} cannot be read: {error}") from error
    if adapter.base_digest != base_digest:
        raise Damaged(f"adapter {digest} was made for base model {adapter.base_digest}, not {base_digest}")
    return adapter
