"""Tool revisions: corrections of a tool's labels, learned from an application's reviews.

Revisions are numbered. The newest that is not retired is in force. A revision becomes stale when an expert whose
reviews it was learned from is erased.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.locks import lock_name
from paaplus.db.tables import (
    ToolRevisionPersonRow,
    ToolRevisionRow,
    UserRow,
)
from paaplus.db.types import utcnow
from paaplus.errors import Conflict, InvalidInput, NotFound, Unavailable
from paaplus.ids import new_id, sha256_hex
from paaplus.scoring.revision import Revision
from paaplus.services import audit
from paaplus.services.registry.artifacts import LoadedOnce
from paaplus.services.reviews import tools as tools_service

NUM_KEPT: Final = 64

_loaded: LoadedOnce[Revision] = LoadedOnce(NUM_KEPT)


def in_force(session: Session, application: str, tool: str, tool_version: str) -> ToolRevisionRow | None:
    """The revision that calibrates this tool's labels in new batches; None: there is none."""
    return session.execute(
        sa.select(ToolRevisionRow)
        .where(
            ToolRevisionRow.application == application,
            ToolRevisionRow.tool == tool,
            ToolRevisionRow.tool_version == tool_version,
            ToolRevisionRow.retired_at.is_(None),
        )
        .order_by(ToolRevisionRow.version.desc())
        .limit(1)
    ).scalar_one_or_none()


def retire(session: Session, *, application: str, tool: str, version: int, actor: str) -> ToolRevisionRow:
    """Retire a revision; the one before it is in force again. Existing batches keep their labels.

    Raises:
        NotFound: there is no such revision.
    """
    row = session.execute(
        sa.select(ToolRevisionRow)
        .where(
            ToolRevisionRow.application == application, ToolRevisionRow.tool == tool, ToolRevisionRow.version == version
        )
        .with_for_update()
    ).scalar_one_or_none()
    if row is None:
        raise NotFound(f"tool {tool!r:.80} has no revision {version} in application {application!r}")
    if row.retired_at is None:
        row.retired_at = utcnow()
        audit.record(session, actor=actor, action="tool_revision_retired", subject_id=row.id)
    return row


def list_revisions(
    session: Session, *, application: str | None, tool: str | None = None, limit: int = 100, before: UUID | None = None
) -> list[ToolRevisionRow]:
    """Revisions, newest first.

    Args:
        application: of this application; None: of every application.
        tool: of this tool; None: of every tool.
        limit: at most so many.
        before: only revisions older than this id.

    Raises:
        InvalidInput: no such tool.
    """
    query = sa.select(ToolRevisionRow).order_by(ToolRevisionRow.id.desc()).limit(limit)
    if application is not None:
        query = query.where(ToolRevisionRow.application == application)
    if tool is not None:
        tools_service.check_exists(tool)
        query = query.where(ToolRevisionRow.tool == tool)
    if before is not None:
        query = query.where(ToolRevisionRow.id < before)
    return list(session.execute(query).scalars())


def mark_stale(session: Session, user_id: UUID) -> None:
    """Mark revisions that were learned from reviews of a user who is about to be erased."""
    learned = sa.select(ToolRevisionPersonRow.tool_revision_id).where(ToolRevisionPersonRow.user_id == user_id)
    session.execute(
        sa.update(ToolRevisionRow)
        .where(ToolRevisionRow.id.in_(learned), ToolRevisionRow.stale_at.is_(None))
        .values(stale_at=utcnow())
    )


def load(row: ToolRevisionRow) -> Revision:
    """Load a revision, cached in this process.

    Raises:
        Unavailable: its stored bytes are damaged.
    """
    what = f"revision {row.version} of tool {row.tool}"

    def read() -> Revision:
        if sha256_hex(row.data) != row.digest:
            raise Unavailable(f"{what} is damaged")
        try:
            return Revision.from_bytes(row.data)
        except InvalidInput as error:  # the platform's data, not the caller's input
            raise Unavailable(f"{what} cannot be read: {error}") from error

    return _loaded.get(row.digest, read)


def register(
    session: Session,
    revision: Revision,
    application: str,
    tool: str,
    tool_version: str,
    metrics: Mapping[str, Any],
    base_model_id: UUID | None,
    user_ids: Collection[UUID],
    actor: str,
) -> ToolRevisionRow:
    """Store a revision as the tool's next one, and put it in force. If it equals the one in force, returns that row.

    Args:
        user_ids: the experts whose reviews it was learned from.

    Raises:
        Conflict: one of them was erased meanwhile.
    """
    lock_name(session, f"tool_revision:{application}:{tool}")
    current = in_force(session, application, tool, tool_version)
    if current is not None and current.digest == revision.digest:
        return current
    existing = session.execute(
        sa.select(UserRow.id)
        .where(UserRow.id.in_(user_ids))
        .order_by(UserRow.id)
        .with_for_update(read=True, key_share=True)
    ).scalars()
    if len(set(existing)) != len(user_ids):
        raise Conflict("an expert was erased while a revision was learned from their reviews: try again")
    newest = session.execute(
        sa.select(sa.func.max(ToolRevisionRow.version)).where(
            ToolRevisionRow.application == application, ToolRevisionRow.tool == tool
        )
    )
    data = revision.to_bytes()
    row = ToolRevisionRow(
        id=new_id(),
        application=application,
        tool=tool,
        tool_version=tool_version,
        version=(newest.scalar_one() or 0) + 1,
        base_model_id=base_model_id,
        digest=sha256_hex(data),
        data=data,
        num_reviews=max((report["num_reviews"] for report in metrics.values()), default=0),
        metrics=dict(metrics),
        created_at=utcnow(),
    )
    session.add(row)
    session.flush()
    session.add_all(ToolRevisionPersonRow(tool_revision_id=row.id, user_id=user_id) for user_id in sorted(user_ids))
    audit.record(session, actor=actor, action="tool_revision_learned", subject_id=row.id)
    return row
