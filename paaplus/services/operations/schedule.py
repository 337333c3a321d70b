"""Who is trained next, why and when: the users that the scheduler has on its list, the earliest first."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.clock import db_now
from paaplus.db.tables import DueRow, JobRow, UserRow
from paaplus.db.tables.jobs import JobKind, JobState


def list_due(session: Session, *, limit: int = 100) -> tuple[list[UserRow], datetime]:
    """Users with a time at which they are due, and the time by the database's clock."""
    query = (
        sa.select(UserRow)
        .join(DueRow, DueRow.user_id == UserRow.id)
        .where(DueRow.due_at.is_not(None))
        .order_by(DueRow.due_at, DueRow.user_id)
    )
    return list(session.execute(query.limit(limit)).scalars()), db_now(session)


def count_by_reason(session: Session) -> dict[str, int]:
    """Numbers of users on the list, by the reason, the most frequent first."""
    rows = session.execute(
        sa.select(DueRow.reason, sa.func.count())
        .where(DueRow.due_at.is_not(None))
        .group_by(DueRow.reason)
        .order_by(sa.func.count().desc(), DueRow.reason)
    )
    return {reason: int(number) for reason, number in rows}


def list_enqueued(session: Session, *, limit: int = 100) -> list[JobRow]:
    """Trainings that wait for a worker or run, in the order in which workers take them."""
    query = (
        sa.select(JobRow)
        .where(JobRow.kind == JobKind.ADAPT, JobRow.state.in_((JobState.QUEUED, JobState.RUNNING)))
        .order_by(JobRow.state.desc(), JobRow.priority, JobRow.run_after, JobRow.id)
        .limit(limit)
    )
    return list(session.execute(query).scalars())
