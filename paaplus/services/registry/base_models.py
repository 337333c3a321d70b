"""Base models: registered by digest, with version numbers by name, and cached in each process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.locks import lock_name
from paaplus.db.prepared import Prepared, as_uuid
from paaplus.db.tables import BaseModelRow
from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput, NotFound, Unavailable
from paaplus.ids import new_id
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.services.registry.artifacts import LoadedOnce, parsed
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

NUM_KEPT: Final = 4
Columns = sa.Select[*tuple[Any, ...]]

_loaded: LoadedOnce[BaseScorer] = LoadedOnce(NUM_KEPT)


def register(
    session: Session, blobs: BlobStore, scorer: BaseScorer, config: dict[str, Any], metrics: dict[str, Any]
) -> BaseModelRow:
    """Store a base model as the next version of its name. A known artifact returns its existing row.

    Afterwards call `images.request_features` for the existing images.
    """
    lock_name(session, f"base_model:{scorer.name}")
    digest = scorer.digest
    known = find(session, digest)
    if known is not None:
        return known
    newest = session.execute(sa.select(sa.func.max(BaseModelRow.version)).where(BaseModelRow.name == scorer.name))
    row = BaseModelRow(
        id=new_id(),
        name=scorer.name,
        version=(newest.scalar_one() or 0) + 1,
        digest=digest,
        extractor_digest=scorer.extractor_digest,
        artifact_sha256=blobs.put(scorer.to_bytes()),
        aspects=list(scorer.aspects),
        feature_dim=scorer.feature_dim,
        config=config,
        metrics=metrics,
        created_at=utcnow(),
    )
    session.add(row)
    session.flush()
    return row


def default(session: Session, settings: Settings) -> BaseModelRow:
    """The default base model: the configured one, or the newest that is not retired.

    Raises:
        InvalidInput: `default_base_model` is neither a name nor name@version.
        Unavailable: there is no such base model; the message says how to make one.
    """
    row = find_default(session, settings)
    if row is None:
        wanted = f"{settings.default_base_model!r} " if settings.default_base_model else ""
        raise Unavailable(
            f"there is no base model {wanted}yet: make one with `paaplus base-models train lite2 --data DIR`"
        )
    return row


def find_default(session: Session, settings: Settings) -> BaseModelRow | None:
    """As `default`, but None if there is none."""
    return session.execute(_default_query(sa.select(BaseModelRow), settings.default_base_model)).scalar_one_or_none()


@dataclass(frozen=True, slots=True)
class DefaultId:
    """Which base model is the default one, and what extracts its features."""

    id: UUID
    extractor_digest: str


def find_default_id(connection: sa.Connection, settings: Settings) -> DefaultId | None:
    """As `find_default`, without the rest of the row: uploads ask while they hold a lock."""
    rows = _default_id_query(settings.default_base_model).rows(connection)
    return DefaultId(as_uuid(rows[0][0]), rows[0][1]) if rows else None


@cache
def _default_id_query(wanted: str) -> Prepared:
    return Prepared(lambda _: _default_query(sa.select(BaseModelRow.id, BaseModelRow.extractor_digest), wanted))


def _default_query(query: Columns, wanted: str) -> Columns:
    """Of a query of base models, the default one."""
    query = query.where(BaseModelRow.retired_at.is_(None)).order_by(BaseModelRow.id.desc()).limit(1)
    name, separator, version = wanted.partition("@")
    if name:
        query = query.where(BaseModelRow.name == name)
    if separator:
        if not (name and version.isascii() and version.isdigit()):
            raise InvalidInput(f"default_base_model {wanted!r} is neither a name nor name@version")
        query = query.where(BaseModelRow.version == int(version))
    return query


class DefaultBaseModel:
    """Tells which base model is the default now, and reads its row once: what is served of it never changes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._query = Prepared(lambda _: self.query())
        self._row: BaseModelRow | None = None

    def read(self, connection: sa.Connection) -> BaseModelRow:
        """The row, in the caller's transaction; of its changeable columns it shows an old state.

        Raises:
            InvalidInput, Unavailable: see `default`.
        """
        rows = self._query.rows(connection)
        return self.row(connection, rows[0][0] if rows else None)

    def query(self) -> sa.Select[UUID]:
        """The default's id, for a part of another statement."""
        return _default_query(sa.select(BaseModelRow.id), self._settings.default_base_model)

    def row(self, connection: sa.Connection, default_id: Any) -> BaseModelRow:
        """As `read`, of what `query` gave in this transaction, as the driver gives it; None: nothing."""
        row = self._row
        if row is None or default_id is None or as_uuid(default_id) != row.id:
            session = Session(bind=connection, expire_on_commit=False)
            row = self._row = default(session, self._settings)
            session.expunge_all()
        return row


def named(session: Session, wanted: str) -> BaseModelRow:
    """The base model `name` (its newest version) or `name@version`.

    Raises:
        NotFound: there is no such base model.
    """
    name, _, version = wanted.partition("@")
    rows = list_base_models(session)
    for row in rows:
        if row.name == name and (not version or str(row.version) == version):
            return row
    known = ", ".join(f"{row.name}@{row.version}" for row in rows) or "none"
    raise NotFound(f"base model {wanted!r} does not exist; known: {known}")


def find(session: Session, digest: str) -> BaseModelRow | None:
    """The base model with this digest; None: there is none."""
    return session.execute(sa.select(BaseModelRow).where(BaseModelRow.digest == digest)).scalar_one_or_none()


def list_base_models(session: Session) -> list[BaseModelRow]:
    """All base models, newest first."""
    return list(session.execute(sa.select(BaseModelRow).order_by(BaseModelRow.id.desc())).scalars())


def load(blobs: BlobStore, row: BaseModelRow) -> BaseScorer:
    """Load a base model, cached in this process.

    Raises:
        Unavailable: its artifact is missing or damaged.
    """
    what = f"base model {row.name}@{row.version}"

    def read() -> BaseScorer:
        if not blobs.exists(row.artifact_sha256):
            raise Unavailable(f"{what}: its artifact {row.artifact_sha256} is not in storage")
        return parsed(what, BaseScorer.from_bytes, blobs.get(row.artifact_sha256), row.digest)

    return _loaded.get(row.digest, read)
