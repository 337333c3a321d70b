"""Events that may not train, gate or trigger: made by a rollback, open until released."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import AdapterHistoryRow, ExclusionRow, FeedbackRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.tables.models import PointerMove
from paaplus.db.types import utcnow
from paaplus.errors import NotFound
from paaplus.ids import new_id
from paaplus.services import audit, scheduling


def exclude_after(session: Session, user_id: UUID, sequence: int, *, actor: str, reason: str, at: datetime) -> int:
    """Exclude every event after `sequence` that is not excluded yet; returns how many.

    Retractions stay: a person's taking back is honoured whatever an admin rolls back.
    """
    open_already = sa.exists().where(ExclusionRow.feedback_id == FeedbackRow.id, ExclusionRow.released_at.is_(None))
    feedback_ids = session.execute(
        sa.select(FeedbackRow.id).where(
            FeedbackRow.user_id == user_id,
            FeedbackRow.sequence > sequence,
            FeedbackRow.kind != FeedbackKind.RETRACTION,
            ~open_already,
        )
    ).scalars()
    rows = [
        ExclusionRow(id=new_id(), user_id=user_id, feedback_id=feedback_id, reason=reason, actor=actor, created_at=at)
        for feedback_id in feedback_ids
    ]
    session.add_all(rows)
    return len(rows)


def list_open(session: Session, user_id: UUID) -> list[tuple[ExclusionRow, int]]:
    """Open exclusions with the sequence number of their event, oldest event first."""
    rows = session.execute(
        sa.select(ExclusionRow, FeedbackRow.sequence)
        .join(FeedbackRow, FeedbackRow.id == ExclusionRow.feedback_id)
        .where(ExclusionRow.user_id == user_id, ExclusionRow.released_at.is_(None))
        .order_by(FeedbackRow.sequence)
    )
    return [(exclusion, sequence) for exclusion, sequence in rows]


def close(session: Session, user_id: UUID, sequences: list[int] | None, *, actor: str, up_to: int | None = None) -> int:
    """Close open exclusions of the given events (all when None; only up to a sequence number when given)."""
    matching = sa.select(FeedbackRow.id).where(FeedbackRow.user_id == user_id)
    if sequences is not None:
        matching = matching.where(FeedbackRow.sequence.in_(sequences))
    if up_to is not None:
        matching = matching.where(FeedbackRow.sequence <= up_to)
    result = session.execute(
        sa.update(ExclusionRow)
        .where(ExclusionRow.released_at.is_(None), ExclusionRow.feedback_id.in_(matching))
        .values(released_at=utcnow(), released_by=actor)
    )
    return int(result.rowcount)  # type: ignore[attr-defined]


def release(session: Session, user_id: UUID, *, sequences: list[int] | None, actor: str, reason: str) -> int:
    """Let excluded events count again: they train with the next training, which this makes due.

    Args:
        sequences: the events by number; None: all that are excluded.

    Raises:
        NotFound: no such user, or a named event is not excluded.
    """
    user = session.get(UserRow, user_id, with_for_update=True, populate_existing=True)
    if user is None:
        raise NotFound(f"user {user_id} does not exist")
    if sequences is not None:
        excluded = {sequence for _, sequence in list_open(session, user_id)}
        if missing := sorted(set(sequences) - excluded):
            raise NotFound(f"event(s) {missing} of this user are not excluded")
    num_released = close(session, user_id, sequences, actor=actor)
    if num_released:
        first = min(sequences) if sequences else 1
        user.trained_sequence = min(user.trained_sequence, first - 1)
        user.epoch += 1
        session.add(
            AdapterHistoryRow(
                id=new_id(),
                user_id=user_id,
                move=PointerMove.RELEASED,
                actor=actor,
                reason=reason,
                details={"num_released": num_released},
                created_at=utcnow(),
            )
        )
        audit.record(session, actor=actor, action="release", subject_id=user_id, details={"num": num_released})
        scheduling.refresh_due(session, user)
    return num_released
