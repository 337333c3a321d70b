"""Exclusions: events of the log that training, gate and triggers ignore, until a release ends them.

A rollback makes them, or the gate: those are a *quarantine*, which the gate may end too.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import ExclusionRow, FeedbackRow, UserRow
from paaplus.db.tables.models import PointerMove
from paaplus.db.types import utcnow
from paaplus.db.users import locked_user
from paaplus.errors import NotFound
from paaplus.ids import new_id
from paaplus.services import audit, history, scheduling
from paaplus.services.feedback.feedback_log import GATE


def exclude(session: Session, user: UserRow, sequences: Collection[int], *, actor: str, reason: str) -> None:
    """Exclude events of the user's log. The caller must count the user's epoch up afterwards."""
    ids = _feedback_ids(session, user.id, sequences)
    session.add_all(
        ExclusionRow(
            id=new_id(),
            user_id=user.id,
            feedback_id=feedback_id,
            reason=reason,
            actor=actor,
            excluded_epoch=user.epoch + 1,
            created_at=utcnow(),
        )
        for feedback_id in ids
    )


def list_open(session: Session, user_id: UUID) -> list[tuple[ExclusionRow, int]]:
    """Open exclusions with the sequence number of their event, oldest event first."""
    rows = session.execute(
        sa.select(ExclusionRow, FeedbackRow.sequence)
        .join(FeedbackRow, FeedbackRow.id == ExclusionRow.feedback_id)
        .where(ExclusionRow.user_id == user_id, ExclusionRow.released_at.is_(None))
        .order_by(FeedbackRow.sequence)
    )
    return [(exclusion, sequence) for exclusion, sequence in rows]


def kind_of(exclusion: ExclusionRow) -> Literal["rollback", "quarantine"]:
    """Whether a rollback or the gate made an exclusion."""
    return "quarantine" if exclusion.actor == GATE else "rollback"


def close(session: Session, user: UserRow, sequences: Collection[int], *, actor: str) -> None:
    """End the open exclusions of these events. The caller must count the user's epoch up afterwards."""
    session.execute(
        sa.update(ExclusionRow)
        .where(
            ExclusionRow.released_at.is_(None),
            ExclusionRow.feedback_id.in_(_feedback_ids(session, user.id, sequences)),
        )
        .values(released_at=utcnow(), released_by=actor, released_epoch=user.epoch + 1)
    )


def _feedback_ids(session: Session, user_id: UUID, sequences: Collection[int]) -> list[UUID]:
    rows = session.execute(sa.select(FeedbackRow.sequence, FeedbackRow.id).where(FeedbackRow.user_id == user_id))
    return [feedback_id for sequence, feedback_id in rows if sequence in sequences]


def release(session: Session, user_id: UUID, *, sequences: list[int] | None, actor: str, reason: str) -> int:
    """Release excluded events: the next training reads them. Returns how many.

    Args:
        sequences: the events by number; None: all that are excluded.

    Raises:
        NotFound: no such user, or a named event is not excluded.
    """
    user = locked_user(session, user_id)
    excluded = {sequence for _, sequence in list_open(session, user_id)}
    wanted = excluded if sequences is None else set(sequences)
    if missing := sorted(wanted - excluded):
        raise NotFound(f"event(s) {missing} of this user are not excluded")
    if wanted:
        close(session, user, wanted, actor=actor)
        user.trained_sequence = min(user.trained_sequence, min(wanted) - 1)
        user.epoch += 1
        details = {"num_released": len(wanted)}
        history.write(session, user_id, PointerMove.RELEASED, actor=actor, reason=reason, details=details)
        audit.record(session, actor=actor, action="release", subject_id=user_id, details={"num": len(wanted)})
        scheduling.refresh_due(session, user)
    return len(wanted)
