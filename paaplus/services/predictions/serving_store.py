"""Loads what scoring needs: active versions, base model, features, preferences.

Versions and projected images never change, so each process caches them. Which version is active is read from the
database every time, by keys, or known as of the transaction's moment (`residents`).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from typing import Any, Final, NamedTuple
from uuid import UUID

import numpy as np
import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from paaplus.db import triggers
from paaplus.db.engine import Database
from paaplus.db.lazy_session import LazySession
from paaplus.db.prepared import Prepared, as_uuid, listed, one_of
from paaplus.db.tables import AdapterRow, BaseModelRow, MatchRow, PreferenceRow, TastePriorRow
from paaplus.errors import Damaged, InvalidInput, NotFound
from paaplus.ids import sha256_hex
from paaplus.scoring.adapters import Adapter, TasteVector, adapter_from_bytes
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import HeadPrior, Prior
from paaplus.scoring.taste_rows import RowForm, read_rows
from paaplus.services.adapters import matches
from paaplus.services.images import images as images_service
from paaplus.services.images.features import read_features, sorted_features
from paaplus.services.predictions import active_versions, served_users
from paaplus.services.predictions.active_versions import ActiveVersion
from paaplus.services.predictions.cache import SizedCache
from paaplus.services.predictions.residents import Base, Found, Residents
from paaplus.services.predictions.served_records import ServedUsers, extra_of, forms_of, write_facts
from paaplus.services.predictions.served_users import VERSION, facts_of
from paaplus.services.predictions.serving import (
    ImageKey,
    ProjectedImage,
    ServedVersion,
    Serving,
    UsedPreference,
    projected,
    size_bytes,
)
from paaplus.services.predictions.serving_changes import ChangesQuery, Position
from paaplus.services.registry import base_models, taste_priors
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

VERSION_OVERHEAD_BYTES: Final = (
    2_000  # of a cached version: its facts as objects and texts, headers of its arrays, a key, a place; measured
)

VERSIONS_SHARE: Final = 4  # of the cache of adapters, one in so many bytes is for versions, if they need it
VERSIONS_FOR: Final = 16  # calls
LOGGED_S: Final = 60.0  # so long it is trusted that the database logs changes

_DIGEST, _BASE_DIGEST = 2, 3  # places in `served_users.VERSION`

VersionKey = tuple[Any, Any, str]  # version, its match, digest of the base model

log = structlog.get_logger(__name__)


class Known(NamedTuple):
    """All that scores need.

    Args:
        base_model: its row.
        form: of the users' numbers.
        users: in the order asked.
        images: by id.
    """

    base_model: BaseModelRow
    form: RowForm
    users: ServedUsers
    images: dict[UUID, ProjectedImage]


class _Together(NamedTuple):
    """Numbers of caches that share their bytes, for metrics."""

    caches: tuple[SizedCache[Any, Any] | Residents, ...]

    @property
    def num_hits(self) -> int:
        return sum(cache.num_hits for cache in self.caches)

    @property
    def num_misses(self) -> int:
        return sum(cache.num_misses for cache in self.caches)

    @property
    def size_bytes(self) -> int:
        return sum(cache.size_bytes for cache in self.caches)


class _InFile(NamedTuple):
    """Numbers of the users who were found in the file, for metrics."""

    residents: Residents

    @property
    def num_hits(self) -> int:
        return self.residents.num_file_hits

    @property
    def num_misses(self) -> int:
        return self.residents.num_misses

    @property
    def size_bytes(self) -> int:
        return self.residents.file_size_bytes


class ServingStore:
    """Loads and caches what one process scores with."""

    def __init__(self, database: Database, blobs: BlobStore, settings: Settings) -> None:
        self._database = database
        self._blobs = blobs
        self._settings = settings
        self._defaults = base_models.DefaultBaseModel(settings)
        self._adapters_bytes = settings.adapters_cache_mb * 2**20  # of both: versions, and residents with theirs
        self._adapters: SizedCache[VersionKey, ServedVersion] = SizedCache(self._adapters_bytes)
        self._residents = Residents(
            self._adapters_bytes,
            self._room_of_residents,
            settings.home.absolute() / "cache" if settings.adapters_file_mb else None,
            settings.adapters_file_mb * 2**20,
        )
        self._changes = ChangesQuery(
            lambda dialect: (
                self._defaults.query().scalar_subquery(),
                images_service.num_of_application(dialect).scalar_subquery(),
            )
        )
        self._num_unused = 0  # calls for residents that read some, since other ways asked for versions
        self._looked_at, self._has_triggers = -LOGGED_S, False
        # The key has the base model's digest, which covers the extractor and everything computed from features.
        self._images: SizedCache[ImageKey, ProjectedImage] = SizedCache(settings.features_cache_mb * 2**20)

    @property
    def images(self) -> SizedCache[ImageKey, ProjectedImage]:
        """The projected images, which other readers of this process may share."""
        return self._images

    @property
    def caches(self) -> dict[str, _Together | _InFile | SizedCache[Any, Any]]:
        """The caches by what they keep, for metrics. Who is found in the file counts as a hit of `adapters` too."""
        adapters = _Together((self._adapters, self._residents))
        return {"adapters": adapters, "adapters_file": _InFile(self._residents), "images": self._images}

    @property
    def position(self) -> Position | None:
        """The moment of what is known of users, to be asked for before a transaction begins."""
        return self._residents.position

    def _room_of_residents(self) -> int:
        return self._adapters_bytes - min(self._adapters.size_bytes, self._bytes_for_versions())

    def _bytes_for_versions(self) -> int:
        """What residents leave to versions that are asked for in other ways, as long as they are."""
        return self._adapters_bytes // VERSIONS_SHARE if self._num_unused < VERSIONS_FOR else 0

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
        self._num_unused = 0 if keys else self._num_unused
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
            facts, data = facts_of(row[0], row[1:]), row[-1]
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
        self._residents.shrink()
        return user_ids, found, damaged

    def read_known(
        self,
        connection: sa.Connection,
        since: Position | None,
        application: str,
        refs: Sequence[str],
        image_ids: Collection[UUID],
    ) -> Known | None:
        """What scoring these users and images needs, if that is no more than numbers; users who are not known are
        read in one statement.

        Args:
            connection: in a read transaction that begins with this call.
            since: `position` before it began.
            application: of the users.
            refs: their references, each once.
            image_ids: the images.

        Returns:
            None: something does not exist, is damaged or has no features yet, one user is named twice, the base
            model takes preferences or has branches, or nothing tells of changes. Then `read` finds out.

        Raises:
            Unavailable: no base model yet, or the base model is damaged.
        """
        values = {"ids": listed(connection, image_ids), "application": application}
        changes, (default_id, num_visible) = self._changes.read(connection, since, **values)
        if num_visible < len(image_ids):
            return None
        base_model = self._defaults.row(connection, default_id)
        scorer = base_models.load(self._blobs, base_model)
        if scorer.preference_dim or scorer.heads is not None:
            return None
        images = self._images.get_each([(base_model.digest, image_id, None) for image_id in image_ids])
        if None in images:
            return None
        if changes.position is None or not self._is_logged(connection):
            return None
        base = Base(base_model.digest, RowForm(len(scorer.aspects), scorer.taste_dim))
        found = self._residents.find(changes, base, application, refs)
        if found.missing and not self._read_missing(connection, changes.position, base, application, refs, found):
            return None
        if found.may_repeat and len(set(found.users.user_bytes())) < len(refs):
            return None
        of_ids = dict(zip(image_ids, images, strict=True))
        return Known(base_model, base.form, found.users, of_ids)  # type: ignore[arg-type]  # no image is None

    def _read_missing(
        self,
        connection: sa.Connection,
        position: Position | None,
        base: Base,
        application: str,
        refs: Sequence[str],
        found: Found,
    ) -> bool:
        """Read users who are not known into `found`, and keep them; whether all exist and none is damaged."""
        wanted = [refs[place] for place in found.missing]
        rows, uncertain = served_users.read(connection, application, wanted)
        if len(rows) < len(wanted):
            return False
        found_rows = list(map(rows.__getitem__, wanted))
        versions = [row[1:-2] if row[1] is not None else None for row in found_rows]
        is_personal_M = [version is not None and version[_BASE_DIGEST] == base.digest for version in versions]
        places = list(compress(range(len(wanted)), is_personal_M))
        data = [found_rows[place][-2] for place in places]
        for place, stored in zip(places, data, strict=True):
            if sha256_hex(stored) != found_rows[place][1 + _DIGEST]:
                return False
        record_M = np.zeros(len(wanted), forms_of(base.form).record)
        number_PK = np.zeros((len(places), base.form.size), np.float32)
        adapters: dict[int, Adapter] = {}
        for place, adapter in zip(places, read_rows(base.form, base.digest, data, number_PK), strict=True):
            if isinstance(adapter, InvalidInput):
                return False
            if adapter is not None:
                adapters[place] = adapter
        record_M["number_K"][places, : base.form.size] = number_PK
        write_facts(record_M, [row[0] for row in found_rows], versions, is_personal_M)
        extras = {
            place: extra
            for place, version in enumerate(versions)
            if is_personal_M[place] and (extra := extra_of(version, adapters.get(place))) is not None
        }
        found.users.put(found.missing, record_M, extras)
        kept = [place for place, ref in enumerate(wanted) if ref not in uncertain]
        new = ServedUsers(base.digest, record_M, extras)
        self._residents.keep(
            position,
            base,
            application,
            [wanted[place] for place in kept],
            new.only(kept) if len(kept) < len(wanted) else new,
        )
        self._num_unused += 1
        self._adapters.shrink(max(self._adapters_bytes - self._residents.size_bytes, self._bytes_for_versions()))
        return True

    def _is_logged(self, connection: sa.Connection) -> bool:
        """Whether the database logs changes: it may have lost a trigger by a change of its schema by hand."""
        now = time.monotonic()
        if now >= self._looked_at + LOGGED_S:
            lacking = triggers.missing(connection)
            if lacking:
                log.error("serving_changes_not_logged", missing=lacking)
                self._residents.forget()
            self._looked_at, self._has_triggers = now, not lacking
        return self._has_triggers

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
        if preference is not None and scorer.effective(preference.values) is not None
    }


_VERSIONS: Final = Prepared(
    lambda dialect: (
        sa.select(AdapterRow.user_id, *VERSION)
        .join(BaseModelRow, BaseModelRow.id == AdapterRow.base_model_id)
        .join(MatchRow, MatchRow.id == AdapterRow.match_id, isouter=True)
        .where(AdapterRow.id.in_(one_of(dialect, "ids", sa.Uuid())))
    )
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
