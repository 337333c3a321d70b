"""How the deployment is doing, counted in SQL at the moment of asking."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.clock import db_now
from paaplus.db.tables import JobRow, UserRow
from paaplus.db.tables.jobs import JobState


@dataclass(frozen=True, slots=True)
class Status:
    """Jobs by state (every state is there, also with 0), and users whose training is due and not yet a job."""

    num_jobs: dict[JobState, int]
    num_due_users: int


def read(session: Session) -> Status:
    counts = session.execute(sa.select(JobRow.state, sa.func.count()).group_by(JobRow.state))
    num_jobs = dict.fromkeys(JobState, 0) | {state: int(count) for state, count in counts}
    due = sa.select(sa.func.count()).select_from(UserRow).where(UserRow.next_due_at <= db_now(session))
    return Status(num_jobs, int(session.execute(due).scalar_one()))
