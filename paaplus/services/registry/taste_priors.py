"""Taste priors: registered by digest, numbered by base model. The newest that is not retired is in force."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.locks import lock_name
from paaplus.db.tables import BaseModelRow, TastePriorPersonRow, TastePriorRow, UserRow
from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput, NotFound, Unavailable
from paaplus.ids import new_id
from paaplus.scoring.priors import TastePrior
from paaplus.services import audit
from paaplus.services.registry.artifacts import LoadedOnce, parsed
from paaplus.storage.blobs import BlobStore

NUM_KEPT: Final = 8

_loaded: LoadedOnce[TastePrior] = LoadedOnce(NUM_KEPT)


def register(
    session: Session,
    blobs: BlobStore,
    prior: TastePrior,
    base_model: BaseModelRow,
    *,
    source: str,
    metrics: dict[str, Any],
    user_ids: Collection[UUID] = (),
    application: str | None = None,
    refused: str | None = None,
    actor: str,
) -> TastePriorRow:
    """Store a prior as the next version for its base model, and put it in force. A known prior returns its row.

    Args:
        source: description of what it was learned from.
        user_ids: users of this deployment whom it was learned from.
        application: the application whose users start from it; None: all.
        refused: why it is kept without being put in force; None: it comes into force.

    Raises:
        InvalidInput: the prior is for another base model.
    """
    if prior.base_digest != base_model.digest:
        raise InvalidInput(f"a taste prior of base {prior.base_digest[:12]}, not of {base_model.digest[:12]}")
    lock_name(session, f"taste_prior:{base_model.id}")
    known = find(session, prior.digest)
    if known is not None:
        return known
    newest = session.execute(
        sa.select(sa.func.max(TastePriorRow.version)).where(TastePriorRow.base_model_id == base_model.id)
    )
    row = TastePriorRow(
        id=new_id(),
        base_model_id=base_model.id,
        version=(newest.scalar_one() or 0) + 1,
        application=application,
        digest=prior.digest,
        artifact_sha256=blobs.put(prior.to_bytes()),
        source=source[:256],
        num_people=int(metrics["num_people"]),
        metrics=metrics,
        created_at=utcnow(),
        retired_at=utcnow() if refused is not None else None,
    )
    session.add(row)
    session.flush()
    session.add_all(TastePriorPersonRow(taste_prior_id=row.id, user_id=user_id) for user_id in sorted(user_ids))
    action = "taste_prior_registered" if refused is None else "taste_prior_refused"
    audit.record(session, actor=actor, action=action, subject_id=row.id)
    return row


def in_force(session: Session, base_model_id: UUID, application: str | None) -> TastePriorRow | None:
    """The prior that new trainings on this base model start from; None: the base model's own.

    Args:
        session: any.
        base_model_id: the base model.
        application: of the user who is trained; None: only priors for all applications count.
    """
    return session.execute(
        sa.select(TastePriorRow)
        .where(
            TastePriorRow.base_model_id == base_model_id,
            TastePriorRow.retired_at.is_(None),
            sa.or_(TastePriorRow.application.is_(None), TastePriorRow.application == application),
        )
        .order_by(TastePriorRow.version.desc())
        .limit(1)
    ).scalar_one_or_none()


def sharing_applications(session: Session) -> list[str]:
    """The applications that have users who share their taste, sorted."""
    found = session.execute(sa.select(UserRow.application).where(UserRow.shares_taste).distinct())
    return sorted(found.scalars())


def retire(session: Session, base_model_id: UUID, version: int, *, actor: str) -> TastePriorRow:
    """Retire a prior; the one before it is in force again. Existing adapter versions stay.

    Raises:
        NotFound: there is no such version.
    """
    row = session.execute(
        sa.select(TastePriorRow).where(TastePriorRow.base_model_id == base_model_id, TastePriorRow.version == version)
    ).scalar_one_or_none()
    if row is None:
        raise NotFound(f"base model {base_model_id} has no taste prior version {version}")
    if row.retired_at is None:
        row.retired_at = utcnow()
        audit.record(session, actor=actor, action="taste_prior_retired", subject_id=row.id)
    return row


def mark_stale(session: Session, user_id: UUID) -> None:
    """Mark priors that were learned from a user who is about to be erased."""
    learned = sa.select(TastePriorPersonRow.taste_prior_id).where(TastePriorPersonRow.user_id == user_id)
    session.execute(
        sa.update(TastePriorRow)
        .where(TastePriorRow.id.in_(learned), TastePriorRow.stale_at.is_(None))
        .values(stale_at=utcnow())
    )


def find(session: Session, digest: str) -> TastePriorRow | None:
    """The prior with this digest; None: there is none."""
    return session.execute(sa.select(TastePriorRow).where(TastePriorRow.digest == digest)).scalar_one_or_none()


def list_priors(session: Session) -> list[TastePriorRow]:
    """All taste priors, newest first."""
    return list(session.execute(sa.select(TastePriorRow).order_by(TastePriorRow.id.desc())).scalars())


def load(blobs: BlobStore, row: TastePriorRow) -> TastePrior:
    """Load a prior, cached in this process.

    Raises:
        Unavailable: its artifact is missing or damaged.
    """
    what = f"taste prior {row.version}"

    def read() -> TastePrior:
        if not blobs.exists(row.artifact_sha256):
            raise Unavailable(f"{what}: its artifact {row.artifact_sha256} is not in storage")
        return parsed(what, TastePrior.from_bytes, blobs.get(row.artifact_sha256), row.digest)

    return _loaded.get(row.digest, read)
