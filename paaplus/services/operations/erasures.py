"""Erase users, record erasures outside the database, and repeat them after an older backup was restored."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus import faults
from paaplus.db.engine import Database
from paaplus.db.tables import ImageRow, UserRow
from paaplus.db.types import utcnow
from paaplus.errors import NotFound
from paaplus.services import audit, idempotency
from paaplus.services.adapters import matches
from paaplus.services.images import uploads
from paaplus.services.registry import taste_priors
from paaplus.services.reviews import tool_revisions
from paaplus.services.surveys import preference_encoders
from paaplus.storage.blobs import BlobStore
from paaplus.storage.erasure_list import Erasure, ErasureList


def erase(session: Session, blobs: BlobStore, user_id: UUID, *, actor: str, erasures_url: str) -> None:
    """Erase a user: rows, adapters, feedback, the user's own images and their files.

    The erasure is recorded, and the files are deleted, before the commit. If a step fails, the user still exists, and
    erasing again finishes the work. In the other order, files could stay that no row names, or a restore could bring
    back a user whose erasure was not recorded. Call `Database.scrub` after the commit.

    Args:
        erasures_url: of the list of erased users, see `record`.

    Raises:
        NotFound: no such user.
        Unavailable: the list cannot be written, or the files cannot be deleted.
    """
    user = session.get(UserRow, user_id, with_for_update=True, populate_existing=True)
    if user is None:
        raise NotFound(f"user {user_id} does not exist")
    idempotency.forget(session, user.application)
    digests = session.execute(sa.select(ImageRow.sha256).where(ImageRow.owner_id == user_id).distinct()).scalars().all()
    taste_priors.mark_stale(session, user_id)
    preference_encoders.mark_stale(session, user_id)
    priors = matches.prepare_erasure(session, user_id)
    tool_revisions.mark_stale(session, user_id)
    session.execute(sa.delete(UserRow).where(UserRow.id == user_id))
    audit.record(session, actor=actor, action="user_erased", subject_id=user_id)
    session.flush()
    record(erasures_url, user_id)
    staged = [each for each in blobs.list_staged() if each.owner_id == user_id]  # by uploads that were killed, or run
    for sha256 in sorted({*digests, *(each.sha256 for each in staged)}):
        uploads.delete_unnamed(session, blobs, sha256)
    for each in staged:
        blobs.unstage(each)
    matches.forget(priors)
    for sha256 in matches.unused(session, priors):
        blobs.delete(sha256)
    faults.point("user_files_deleted")


def record(url: str, user_id: UUID) -> None:
    """Record outside the database that this user is erased. Repeating it changes nothing.

    Args:
        url: `Settings.resolved_erasures_url`, which no restore overwrites.

    Raises:
        Unavailable: the list cannot be written.
    """
    ErasureList(url).add(Erasure(user_id, utcnow()))


def replay(database: Database, blobs: BlobStore, url: str, *, actor: str) -> list[UUID]:
    """After a restore, erase again the users on the list that the backup brought back.

    Returns:
        Internal ids of the users that were erased again.

    Raises:
        Unavailable: the list or the storage does not answer. The database must not be served then.
    """
    erased = []
    for user_id in sorted(entry.user_id for entry in ErasureList(url)):
        with database.session() as session:
            if session.get(UserRow, user_id) is None:
                continue
            erase(session, blobs, user_id, actor=actor, erasures_url=url)
        erased.append(user_id)
    database.scrub()
    return erased
