"""Exclusions: events of the log that training, gate and triggers ignore, until a release ends them.

A rollback makes them, or the gate: those are a *quarantine*, which the gate may end too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, Literal, NamedTuple, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.bulk_insert import insert_rows
from paaplus.db.prepared import Prepared
from paaplus.db.raw_values import raw, uuid_of
from paaplus.db.row_sets import driver_value, encoded, row_set
from paaplus.db.selected import given, id_values, numbered_id
from paaplus.db.tables import ExclusionRow, FeedbackRow, UserRow
from paaplus.db.tables.models import PointerMove
from paaplus.db.types import utcnow
from paaplus.db.users import locked_user
from paaplus.errors import NotFound
from paaplus.ids import new_hex
from paaplus.services import audit, history, scheduling
from paaplus.services.feedback.counted_events import GATE


class Changed(NamedTuple):
    """Events whose exclusion begins or ends, by id, as the driver gives these. `epoch`: of the (locked) user."""

    user_id: UUID
    epoch: int
    feedback_ids: Sequence[Any]


def exclude(session: Session, user: UserRow, sequences: Collection[int], *, actor: str, reason: str) -> None:
    """Exclude events of the user's log. The caller must count the user's epoch up afterwards."""
    change = Changed(user.id, user.epoch, _feedback_ids(session, user.id, sequences))
    exclude_many(session, [change], actor=actor, reason=reason)


def exclude_many(session: Session, changes: Sequence[Changed], *, actor: str, reason: str) -> None:
    """As `exclude`, for several users, in one statement."""
    connection = session.connection()
    now = driver_value(connection.dialect.name, utcnow())
    rows = (
        (new_hex(), feedback_id, each.user_id.hex, reason, actor, each.epoch + 1, now)
        for each in changes
        for feedback_id in each.feedback_ids
    )
    if any(each.feedback_ids for each in changes):
        insert_rows(connection, _EXCLUSIONS, _COLUMNS, rows)


class Later(NamedTuple):
    """All events of a (locked) user after a sequence number. `epoch`: the user's."""

    user_id: UUID
    epoch: int
    high_water: int


def exclude_later(session: Session, changes: Sequence[Later], *, actor: str, reason: str) -> None:
    """As `exclude_many`, of users without exceptions: see `event_numbers.with_exceptions`. By the database alone."""
    if not changes:
        return
    connection = session.connection()
    dialect = connection.dialect.name
    _EXCLUDE_LATER.rows(
        connection,
        users=encoded(dialect, changes),
        reason=reason,
        actor=actor,
        now=driver_value(dialect, utcnow()),
        **id_values(),
    )


def _excluding_later(dialect: str) -> sa.Insert:
    users = row_set(dialect, "users", {"user_id": sa.Uuid(), "epoch": sa.Integer(), "high_water": sa.Integer()})
    selected = sa.select(
        numbered_id(dialect),
        FeedbackRow.id,
        FeedbackRow.user_id,
        given(dialect, "reason", sa.Text()),
        given(dialect, "actor", sa.String()),
        users.c.epoch + 1,
        given(dialect, "now", _EXCLUSIONS.c.created_at.type),
    ).join(users, sa.and_(FeedbackRow.user_id == users.c.user_id, FeedbackRow.sequence > users.c.high_water))
    return sa.insert(_EXCLUSIONS).from_select(_COLUMNS, selected)


def list_open(
    session: Session, user_id: UUID, *, limit: int | None = None, after: UUID | None = None
) -> list[tuple[ExclusionRow, int]]:
    """Open exclusions with the sequence number of their event, oldest event first.

    Args:
        limit: so many at most.
        after: only those of events later than the one of this exclusion, which may have been released meanwhile.
    """
    query = (
        sa.select(ExclusionRow, FeedbackRow.sequence)
        .join(FeedbackRow, FeedbackRow.id == ExclusionRow.feedback_id)
        .where(ExclusionRow.user_id == user_id, ExclusionRow.released_at.is_(None))
        .order_by(FeedbackRow.sequence)
        .limit(limit)
    )
    if after is not None:
        reached = (
            sa.select(FeedbackRow.sequence)
            .join(ExclusionRow, FeedbackRow.id == ExclusionRow.feedback_id)
            .where(ExclusionRow.id == after, ExclusionRow.user_id == user_id)
        )
        query = query.where(FeedbackRow.sequence > reached.scalar_subquery())
    return [(exclusion, sequence) for exclusion, sequence in session.execute(query)]


def kind_of(exclusion: ExclusionRow) -> Literal["rollback", "quarantine"]:
    """Whether a rollback or the gate made an exclusion."""
    return "quarantine" if exclusion.actor == GATE else "rollback"


def close(session: Session, user: UserRow, sequences: Collection[int], *, actor: str) -> None:
    """End the open exclusions of these events. The caller must count the user's epoch up afterwards."""
    close_many(session, [Changed(user.id, user.epoch, _feedback_ids(session, user.id, sequences))], actor=actor)


def close_many(session: Session, changes: Sequence[Changed], *, actor: str) -> None:
    """As `close`, for several users."""
    connection, now = session.connection(), utcnow()
    for each in changes:
        if each.feedback_ids:
            connection.execute(
                _CLOSE,
                {
                    "ids": [uuid_of(feedback_id) for feedback_id in each.feedback_ids],
                    "now": now,
                    "by": actor,
                    "epoch": each.epoch + 1,
                },
            )


_EXCLUSIONS: Final = cast(sa.Table, ExclusionRow.__table__)
_COLUMNS: Final = ("id", "feedback_id", "user_id", "reason", "actor", "excluded_epoch", "created_at")

_EXCLUDE_LATER: Final = Prepared(_excluding_later)
_CLOSE: Final = (
    sa.update(_EXCLUSIONS)
    .where(
        _EXCLUSIONS.c.released_at.is_(None),
        _EXCLUSIONS.c.feedback_id.in_(sa.bindparam("ids", expanding=True)),
    )
    .values(released_at=sa.bindparam("now"), released_by=sa.bindparam("by"), released_epoch=sa.bindparam("epoch"))
)


def _feedback_ids(session: Session, user_id: UUID, sequences: Collection[int]) -> list[Any]:
    if not sequences:
        return []
    rows = session.execute(sa.select(FeedbackRow.sequence, raw(FeedbackRow.id)).where(FeedbackRow.user_id == user_id))
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
