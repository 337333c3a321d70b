"""Exclusions: events of the log that training, gate and triggers ignore, until a release ends them.

A rollback makes them, or the gate: those are a *quarantine*, which the gate may end too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Final, Literal, NamedTuple, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.bulk_insert import insert_rows
from paaplus.db.exclusions import of_event
from paaplus.db.row_sets import driver_value
from paaplus.db.tables import ExclusionRow, FeedbackRow, UserRow
from paaplus.db.tables.models import PointerMove
from paaplus.db.types import utcnow
from paaplus.db.users import locked_user
from paaplus.errors import NotFound
from paaplus.ids import new_hex, new_id
from paaplus.services import audit, history, scheduling
from paaplus.services.feedback.counted_events import GATE
from paaplus.services.feedback.cursors import MAX_SEQUENCE, cursor_of, number_of
from paaplus.services.feedback.runs import parts_of, runs_of


class Changed(NamedTuple):
    """Events of a (locked) user whose exclusion begins or ends. `epoch`: the user's."""

    user_id: UUID
    epoch: int
    runs: Sequence[range]


def exclude(session: Session, user: UserRow, sequences: Collection[int], *, actor: str, reason: str) -> None:
    """Exclude events of the user's log. The caller must count the user's epoch up afterwards."""
    exclude_many(session, [Changed(user.id, user.epoch, runs_of(sequences))], actor=actor, reason=reason)


def exclude_many(session: Session, changes: Iterable[Changed], *, actor: str, reason: str) -> None:
    """As `exclude`, for several users, in one statement: a row for each run."""
    connection = session.connection()
    now = driver_value(connection.dialect.name, utcnow())
    rows = [
        (new_hex(), each.user_id.hex, run[0], run[-1], reason, actor, each.epoch + 1, now)
        for each in changes
        for run in each.runs
    ]
    if rows:
        insert_rows(connection, cast(sa.Table, ExclusionRow.__table__), _COLUMNS, rows)


class Excluded(NamedTuple):
    """An event that is excluded now."""

    sequence: int
    exclusion: ExclusionRow

    @property
    def id(self) -> UUID:
        """As the cursor of the page after it."""
        return cursor_of(self.sequence)


def list_open(
    session: Session, user_id: UUID, *, limit: int | None = None, after: UUID | None = None
) -> list[Excluded]:
    """Events that are excluded now, oldest first.

    Args:
        limit: so many at most.
        after: only later events than the one with this `id`, which may have been released meanwhile.

    Raises:
        InvalidInput: `after` is no `id` of an event.
    """
    query = (
        sa.select(FeedbackRow.sequence, ExclusionRow)
        .join(ExclusionRow, of_event())
        .where(FeedbackRow.user_id == user_id, ExclusionRow.released_at.is_(None))
        .order_by(FeedbackRow.sequence)
        .limit(limit)
    )
    if after is not None:
        query = query.where(FeedbackRow.sequence > number_of(after, MAX_SEQUENCE))
    return [Excluded(*row) for row in session.execute(query)]


def kind_of(exclusion: ExclusionRow) -> Literal["rollback", "quarantine"]:
    """Whether a rollback or the gate made an exclusion."""
    return "quarantine" if exclusion.actor == GATE else "rollback"


def close(session: Session, user: UserRow, sequences: Collection[int], *, actor: str) -> None:
    """End the open exclusions of these events. The caller must count the user's epoch up afterwards."""
    close_many(session, [Changed(user.id, user.epoch, runs_of(sequences))], actor=actor)


def close_many(session: Session, changes: Iterable[Changed], *, actor: str) -> None:
    """As `close`, for several users. Of a run that ends in part, each part becomes a row."""
    closed = {each.user_id: (each.epoch, frozenset(chain(*each.runs))) for each in changes if each.runs}
    if not closed:
        return
    now = utcnow()
    query = sa.select(ExclusionRow).where(ExclusionRow.user_id.in_(closed), ExclusionRow.released_at.is_(None))
    for row in list(session.execute(query).scalars()):
        epoch, sequences = closed[row.user_id]
        for number, (is_closed, part) in enumerate(
            parts_of(range(row.first_sequence, row.last_sequence + 1), sequences)
        ):
            row_of_part = row if number == 0 else _same(row)
            row_of_part.first_sequence, row_of_part.last_sequence = part[0], part[-1]
            if is_closed:
                row_of_part.released_at, row_of_part.released_by, row_of_part.released_epoch = now, actor, epoch + 1
            session.add(row_of_part)
    session.flush()  # what is excluded again next is written by the driver


_COLUMNS: Final = (
    "id", "user_id", "first_sequence", "last_sequence", "reason", "actor", "excluded_epoch", "created_at",
)  # fmt: skip


def _same(row: ExclusionRow) -> ExclusionRow:
    """A new row of the same act, without its events."""
    return ExclusionRow(
        id=new_id(),
        user_id=row.user_id,
        reason=row.reason,
        actor=row.actor,
        created_at=row.created_at,
        excluded_epoch=row.excluded_epoch,
    )


def release(session: Session, user_id: UUID, *, sequences: list[int] | None, actor: str, reason: str) -> int:
    """Release excluded events: the next training reads them. Returns how many.

    Args:
        sequences: the events by number; None: all that are excluded.

    Raises:
        NotFound: no such user, or a named event is not excluded.
    """
    user = locked_user(session, user_id)
    excluded = {event.sequence for event in list_open(session, user_id)}
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
