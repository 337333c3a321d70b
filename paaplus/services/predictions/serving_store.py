"""Loads what scoring needs: active versions, base model, features, preferences.

Adapters and projected images never change, so each process caches them. Which version is active is read from the
database every time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from paaplus.configs import MATCH_STRATEGY
from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, BaseModelRow, MatchRow, PreferenceRow, TastePriorRow
from paaplus.db.tables.models import AdapterState
from paaplus.errors import Damaged, InvalidInput, NotFound
from paaplus.ids import sha256_hex
from paaplus.scoring.adapters import Adapter, TasteVector, adapter_from_bytes
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import HeadPrior, Prior
from paaplus.services.adapters import matches
from paaplus.services.images.features import read_features, sorted_features
from paaplus.services.predictions.cache import SizedCache
from paaplus.services.predictions.serving import (
    ENTRY_OVERHEAD_BYTES,
    ImageKey,
    ProjectedImage,
    ServedAdapter,
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

log = structlog.get_logger(__name__)


class ServingStore:
    """Loads and caches what one process scores with."""

    def __init__(self, database: Database, blobs: BlobStore, settings: Settings) -> None:
        self._database = database
        self._blobs = blobs
        self._settings = settings
        self._adapters: SizedCache[str, Adapter] = SizedCache(settings.adapters_cache_mb * 2**20)
        # The key has the base model's digest, which covers the extractor and everything computed from features.
        self._images: SizedCache[ImageKey, ProjectedImage] = SizedCache(settings.features_cache_mb * 2**20)

    @property
    def caches(self) -> dict[str, SizedCache[Any, Any]]:
        """The caches by what they keep, for metrics."""
        return {"adapters": self._adapters, "images": self._images}

    def load(self, user_ids: Collection[UUID], image_ids: Collection[UUID], *, with_priors: bool = False) -> Serving:
        """Load what scoring these users and images needs.

        The number of queries does not depend on theirs: at most four, one more with priors, and one more if the base
        model takes preferences.

        Raises:
            Unavailable: no base model yet, or the base model is damaged.
            NotFound: a user was erased meanwhile.
        """
        with self._database.read_session() as session:
            base_model = base_models.default(session, self._settings)
            served = _served_adapters(session, user_ids)
            fitting = {s.digest: s.id for s in served.values() if s.base_digest == base_model.digest}
            adapters, damaged = self._read_adapters(session, fitting, base_model.digest)
            scorer = base_models.load(self._blobs, base_model)
            used = _used_preferences(session, scorer, user_ids, served)
            known = self._images.get_many((base_model.digest, image_id, None) for image_id in image_ids)
            images = {image_id: image for (_, image_id, _), image in known.items()}
            # A user's preference changes the projection, which needs the features again.
            missing = [image_id for image_id in image_ids if used or image_id not in images]
            stored = read_features(session, base_model.extractor_digest, missing)
            wanted = _prior_digests(adapters.values()) if with_priors else set()
            prior_rows, of_matches = _prior_rows(session, wanted)
        priors = self._priors(scorer, wanted, prior_rows, of_matches)
        found = sorted_features(stored, scorer.feature_dim)
        features = found.usable
        images |= self._project(scorer, {i: features_D for i, features_D in features.items() if i not in images})
        return Serving(
            base_model,
            scorer,
            served,
            adapters,
            priors,
            images,
            found.failed,
            preferences=used,
            features=features if used else {},
            damaged=[image_id for image_id in found.damaged if image_id not in images],
            damaged_adapters={user_id: damaged[row.digest] for user_id, row in served.items() if row.digest in damaged},
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

    def _read_adapters(
        self, session: Session, wanted: dict[str, UUID], base_digest: str
    ) -> tuple[dict[str, Adapter], dict[str, str]]:
        """Adapters by digest, from the cache or from their rows; and what is wrong with those that are damaged.

        Args:
            wanted: digest to row id.
        """
        damaged: dict[str, str] = {}
        adapters = self._adapters.get_many(wanted)
        missing = [row_id for digest, row_id in wanted.items() if digest not in adapters]
        if missing:
            rows = session.execute(sa.select(AdapterRow.digest, AdapterRow.data).where(AdapterRow.id.in_(missing)))
            for digest, data in rows:
                try:
                    adapters[digest] = _verified(digest, data, base_digest)
                except Damaged as error:
                    log.error("adapter_damaged", adapter_id=str(wanted[digest]), error=str(error))
                    damaged[digest] = str(error)
                    continue
                self._adapters.put(digest, adapters[digest], len(data) + ENTRY_OVERHEAD_BYTES)
        if gone := wanted.keys() - adapters.keys() - damaged.keys():
            raise NotFound(f"{len(gone)} user(s) were erased while scores were computed")
        return adapters, damaged

    def _project(self, scorer: BaseScorer, features: dict[UUID, np.ndarray]) -> dict[UUID, ProjectedImage]:
        """Project images without a user preference, and cache them."""
        found = dict(projected(scorer, list(features), features))
        for image_id, image in found.items():
            self._images.put((scorer.digest, image_id, None), image, size_bytes(image))
        return found


def _used_preferences(
    session: Session, scorer: BaseScorer, user_ids: Collection[UUID], served: dict[UUID, ServedAdapter]
) -> dict[UUID, UsedPreference]:
    """The preference that each user's generic scores are computed with; users without an effective one are left out.

    It is the one that the active version was trained with, so that a version always gives the same scores. Without an
    active version for this base model, it is the user's current preference.
    """
    if not scorer.preference_dim:
        return {}
    used: dict[UUID, UsedPreference | None] = {
        user_id: row.preference for user_id, row in served.items() if row.base_digest == scorer.digest
    }
    rows = session.execute(sa.select(PreferenceRow).where(PreferenceRow.user_id.in_(set(user_ids) - used.keys())))
    used |= {row.user_id: UsedPreference(tuple(row.preference), row.version) for row in rows.scalars()}
    return {
        user_id: preference
        for user_id, preference in used.items()
        if preference is not None and preferences.effective(scorer, preference.values) is not None
    }


def _served_adapters(session: Session, user_ids: Collection[UUID]) -> dict[UUID, ServedAdapter]:
    """The active versions, by user; read in one statement, so from one moment."""
    rows = session.execute(
        sa.select(
            AdapterRow.user_id,
            AdapterRow.id,
            AdapterRow.number,
            AdapterRow.digest,
            BaseModelRow.digest,
            AdapterRow.created_at,
            AdapterRow.match_id,
            AdapterRow.preference,
            AdapterRow.metrics[PREFERENCE_VERSION].as_integer(),
            sa.case((AdapterRow.strategy == MATCH_STRATEGY, MatchRow.kind)),
        )
        .join(BaseModelRow, BaseModelRow.id == AdapterRow.base_model_id)
        .join(MatchRow, MatchRow.id == AdapterRow.match_id, isouter=True)
        .where(AdapterRow.user_id.in_(user_ids), AdapterRow.state == AdapterState.ACTIVE)
    )
    served = {}
    for user_id, row_id, number, digest, base_digest, created_at, match_id, preference, version, matched in rows:
        used = UsedPreference(tuple(preference), version) if preference is not None else None
        served[user_id] = ServedAdapter(row_id, number, digest, base_digest, created_at, match_id, used, matched)
    return served


def _prior_digests(adapters: Collection[Adapter]) -> set[str]:
    return {
        adapter.uncertainty.prior_digest
        for adapter in adapters
        if isinstance(adapter, TasteVector) and adapter.uncertainty and adapter.uncertainty.prior_digest
    }


def _prior_rows(session: Session, digests: set[str]) -> tuple[list[TastePriorRow], list[str]]:
    """Rows of the registered priors, and the digests of the others that belong to matches."""
    if not digests:
        return [], []
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


def _verified(digest: str, data: bytes, base_digest: str) -> Adapter:
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
