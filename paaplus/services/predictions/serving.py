"""What predictions are made of: live adapters and projected images, kept in memory because neither ever changes.

Which version is live is asked of the database every time. Shape letters: D = features, R = taste space, A = aspects.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.configs import MATCH_STRATEGY
from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, BaseModelRow, FeaturesRow, MatchRow, PreferenceRow, TastePriorRow
from paaplus.db.tables.experts import MatchKind
from paaplus.db.tables.models import AdapterState
from paaplus.errors import InvalidInput, NotFound, Unavailable
from paaplus.ids import sha256_hex
from paaplus.scoring.adapters import Adapter, TasteVector, adapter_from_bytes
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import HeadPrior, Prior
from paaplus.services.adapters import matches
from paaplus.services.predictions.cache import SizedCache
from paaplus.services.registry import base_models, taste_priors
from paaplus.services.surveys import preferences
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

ENTRY_OVERHEAD_BYTES: Final = 400  # two array headers, a key, a place in the order
ADAPTERS_CACHE_BYTES: Final = 64 * 2**20
PREFERENCE_VERSION: Final = "preference_version"  # among a version's metrics: which of the user's it was trained with
PROJECT_BATCH: Final = 1024  # images that are projected at once: bounds the memory, not the result

ImageKey = tuple[str, UUID, tuple[float, ...] | None]  # base model, image, the preference that it is seen with
StoredFeatures = tuple[bytes | None, str | None]  # the bytes, or the error that stopped them for good


@dataclass(frozen=True, slots=True)
class UsedPreference:
    """The preference that a user's generic scores are computed with.

    `version` counts the changes of the user's preference, None where a version of an adapter does not tell it.
    """

    values: tuple[float, ...]
    version: int | None


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """The version that is live for a user. `preference`: what its generic scores were computed with.

    `matched`: of a version that a match made and no training has touched, what it was matched with.
    """

    id: UUID
    number: int
    digest: str
    base_digest: str
    trained_at: datetime
    match_id: UUID | None = None
    preference: UsedPreference | None = None
    matched: MatchKind | None = None


@dataclass(frozen=True, slots=True)
class ProjectedImage:
    """One image as scoring sees it. `branches`: what its features were made of, None where nobody can tell."""

    taste_R: np.ndarray
    generic_A: np.ndarray
    branches: tuple[str, ...] | None = None


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
    priors: dict[str, Prior]  # by digest: those that the adapters started from, as far as they are still there
    images: dict[UUID, ProjectedImage]  # as nobody in particular sees them
    failed: dict[UUID, str]
    preferences: dict[UUID, UsedPreference] = field(default_factory=dict)  # by user: only those that count here
    features: dict[UUID, np.ndarray] = field(default_factory=dict)  # of the images, if anybody has a preference
    own_images: SizedCache[ImageKey, ProjectedImage] = field(default_factory=lambda: SizedCache(0))

    def images_of(self, user_id: UUID, image_ids: Sequence[UUID]) -> list[ProjectedImage]:
        """Images of `images` as this user's generic score sees them: with their preference, where one counts."""
        preference = self.preferences.get(user_id)
        if preference is None:
            return [self.images[image_id] for image_id in image_ids]
        keys = {(self.scorer.digest, image_id, preference.values): image_id for image_id in image_ids}
        known = self.own_images.get_many(keys)
        missing = [image_id for key, image_id in keys.items() if key not in known]
        for image_id, image in _projected(self.scorer, missing, self.features, preference.values):
            key = self.scorer.digest, image_id, preference.values
            known[key] = image
            self.own_images.put(key, image, _size_bytes(image))
        return [known[self.scorer.digest, image_id, preference.values] for image_id in image_ids]

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
        self._images: SizedCache[ImageKey, ProjectedImage] = SizedCache(settings.features_cache_mb * 2**20)

    def load(self, user_ids: Collection[UUID], image_ids: Collection[UUID], *, with_priors: bool = False) -> Serving:
        """Everything that scoring these needs, in at most four queries, whatever their number; five with priors.

        A base model that takes preferences needs one more for them.

        Raises:
            Unavailable: no base model yet, or an artifact that is damaged.
            NotFound: a user was erased while this read.
        """
        with self._database.read_session() as session:
            base_model = base_models.default(session, self._settings)
            served = _served_adapters(session, user_ids)
            fitting = {s.digest: s.id for s in served.values() if s.base_digest == base_model.digest}
            adapters = self._read_adapters(session, fitting, base_model.digest)
            scorer = base_models.load(self._blobs, base_model)
            used = _used_preferences(session, scorer, user_ids, served)
            known = self._images.get_many((base_model.digest, image_id, None) for image_id in image_ids)
            images = {image_id: image for (_, image_id, _), image in known.items()}
            # who has a preference sees images as nobody else does: that takes their features
            missing = [image_id for image_id in image_ids if used or image_id not in images]
            stored = _read_features(session, base_model.extractor_digest, missing) if missing else {}
            wanted = _prior_digests(adapters.values()) if with_priors else set()
            prior_rows, of_matches = _prior_rows(session, wanted)
        priors = self._priors(scorer, wanted, prior_rows, of_matches)
        features, failed = _usable(scorer, stored)
        images |= self._project(scorer, {i: features_D for i, features_D in features.items() if i not in images})
        return Serving(
            base_model,
            scorer,
            served,
            adapters,
            priors,
            images,
            failed,
            preferences=used,
            features=features if used else {},
            own_images=self._images,
        )

    def _priors(
        self, scorer: BaseScorer, wanted: set[str], rows: list[TastePriorRow], of_matches: list[str]
    ) -> dict[str, Prior]:
        """The wanted priors by digest; that of a match may have gone with an expert."""
        priors: dict[str, Prior] = {row.digest: taste_priors.load(self._blobs, row) for row in rows}
        for digest in of_matches:
            if (matched := matches.load_prior(self._blobs, digest)) is not None:
                priors[digest] = matched
        if wanted - priors.keys() and (head := HeadPrior(scorer)).digest in wanted:
            priors[head.digest] = head
        return priors

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

    def _project(self, scorer: BaseScorer, features: dict[UUID, np.ndarray]) -> dict[UUID, ProjectedImage]:
        """These images as nobody in particular sees them, and remembers them."""
        projected = dict(_projected(scorer, list(features), features))
        for image_id, image in projected.items():
            self._images.put((scorer.digest, image_id, None), image, _size_bytes(image))
        return projected


def _usable(scorer: BaseScorer, stored: dict[UUID, StoredFeatures]) -> tuple[dict[UUID, np.ndarray], dict[UUID, str]]:
    """Features of every image that can be scored, and the error of each that never will be."""
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
    return usable, failed


def _projected(
    scorer: BaseScorer,
    image_ids: Sequence[UUID],
    features: Mapping[UUID, np.ndarray],
    preference: tuple[float, ...] | None = None,
) -> Iterator[tuple[UUID, ProjectedImage]]:
    """Images as somebody with this preference sees them; None: nobody in particular."""
    for start in range(0, len(image_ids), PROJECT_BATCH):
        batch = image_ids[start : start + PROJECT_BATCH]
        taste_BR = scorer.project(np.stack([features[image_id] for image_id in batch]), preference)
        for image_id, taste_R, generic_A in zip(batch, taste_BR, scorer.generic(taste_BR), strict=True):
            branches = scorer.heads.used_branches(features[image_id]) if scorer.heads is not None else None
            # copies: a view would keep the whole batch alive
            yield image_id, ProjectedImage(taste_R.copy(), generic_A.copy(), branches)


def _size_bytes(image: ProjectedImage) -> int:
    return image.taste_R.nbytes + image.generic_A.nbytes + ENTRY_OVERHEAD_BYTES


def _used_preferences(
    session: Session, scorer: BaseScorer, user_ids: Collection[UUID], served: dict[UUID, ServedAdapter]
) -> dict[UUID, UsedPreference]:
    """With which preference each user's generic scores are computed; without those who are nobody in particular.

    That of the version that serves them, so that a version always says the same; without one for this base model,
    the user's own.
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
    """The live version of every user who has one: one statement, so one moment."""
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
    """Rows of those that are registered, and which of the others are the priors of matches."""
    if not digests:
        return [], []
    rows = list(session.execute(sa.select(TastePriorRow).where(TastePriorRow.digest.in_(digests))).scalars())
    others = digests - {row.digest for row in rows}
    if not others:
        return rows, []
    query = sa.select(MatchRow.prior_digest).where(MatchRow.prior_digest.in_(others)).distinct()
    return rows, [digest for digest in session.execute(query).scalars() if digest is not None]


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
