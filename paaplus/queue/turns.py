"""Turns: applications share the workers by their weights, however many jobs each of them has enqueued.

The next job is of the application that has started the fewest jobs of late, for its weight. Jobs of no application,
such as the extraction of features, take turns like one application. Within an application the order is that of priority
and time; a user has one queued job at most, so users take turns too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import JobRow
from paaplus.db.tables.jobs import JobState

RECENT_S = 60.0  # how long a started job counts

Shares = Mapping[str, tuple[float, datetime]]  # by application: see `shares`


def shares(session: Session, queues: Collection[str], now: datetime, weights: Mapping[str, float]) -> Shares:
    """Applications with queued jobs: what each has had of late, for its weight, and when its last job started.

    Args:
        session: before the claiming transaction.
        queues: the worker's queues.
        now: the time of the database.
        weights: of applications; 1 for those that are not named.
    """
    since = now - timedelta(seconds=RECENT_S)
    started = session.execute(_STARTED, {"since": since, "queues": list(queues)})
    never = now - timedelta(days=36_500)
    recent = {application: (count, last or never) for application, count, last in started}
    return {
        application: (count / weights.get(application, 1.0), last)
        for application in session.execute(_WITH_QUEUED_JOBS).scalars()
        for count, last in [recent.get(application, (0, never))]
    }


def deal(shares: Shares, weights: Mapping[str, float]) -> Iterator[str]:
    """Applications in the order in which they take turns, again and again, as if each turn gave it one job more."""
    had = dict(shares)
    while had:
        application = min(had, key=lambda name: (*had[name], name))
        yield application
        used, last = had[application]
        had[application] = (used + 1.0 / weights.get(application, 1.0), last)


def _with_queued_jobs() -> sa.Select[str]:
    """Applications with queued jobs, by jumps from one to the next in an index: the number of jobs does not matter."""
    queued = sa.select(sa.func.min(JobRow.application).label("application")).where(JobRow.state == JobState.QUEUED)
    found = queued.cte("found", recursive=True)
    following = (
        sa.select(sa.func.min(JobRow.application))
        .where(JobRow.state == JobState.QUEUED, JobRow.application > found.c.application)
        .scalar_subquery()
    )
    found = found.union_all(sa.select(following).where(found.c.application.is_not(None)))
    return sa.select(found.c.application).where(found.c.application.is_not(None))


# Built once: to build a statement anew costs more than to execute it.
_WITH_QUEUED_JOBS: Final = _with_queued_jobs()
_STARTED: Final = (
    sa.select(JobRow.application, sa.func.count(), sa.func.max(JobRow.started_at))
    .where(JobRow.started_at > sa.bindparam("since"), JobRow.queue.in_(sa.bindparam("queues", expanding=True)))
    .group_by(JobRow.application)
)
