"""The audit trail: privileged acts, by internal ids only."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import AuditRow
from paaplus.db.types import utcnow
from paaplus.ids import new_id


def record(
    session: Session, *, actor: str, action: str, subject_id: UUID | None, details: dict[str, Any] | None = None
) -> None:
    """Write one act, in the same transaction as the act itself. No free text: it could name a person."""
    session.add(
        AuditRow(
            id=new_id(),
            actor=actor,
            action=action,
            subject_id=subject_id,
            details=details or {},
            created_at=utcnow(),
        )
    )


def list_entries(session: Session, *, limit: int = 100, before: UUID | None = None) -> list[AuditRow]:
    """Newest first."""
    query = sa.select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditRow.id < before)
    return list(session.execute(query).scalars())
