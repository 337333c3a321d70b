"""The schedule: who is due, in order, with the reasons; and what waits for a worker already."""

from __future__ import annotations

from datetime import timedelta

from paaplus.db.clock import db_now
from paaplus.db.engine import Database
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.db.tables.users import DueReason
from paaplus.services.operations import schedule
from tests.support.factories import make_job, make_user


def test_due_users_come_earliest_first_with_their_reasons(database: Database) -> None:
    with database.session() as session:
        now = db_now(session)
        for name, hours, reason in (
            ("later", 5, DueReason.INTERVAL), ("now", -1, DueReason.DRIFT), ("soon", 1, DueReason.INTERVAL),
        ):  # fmt: skip
            make_user(session, external_id=name, next_due_at=now + timedelta(hours=hours), due_reason=reason)
        make_user(session, external_id="never")
    with database.read_session() as session:
        rows, at = schedule.list_due(session, limit=2)
        assert [row.external_id for row in rows] == ["now", "soon"]
        assert at >= now
        assert list(schedule.count_by_reason(session).items()) == [("interval", 2), ("drift", 1)]


def test_waiting_trainings_come_running_first_then_by_priority(database: Database) -> None:
    with database.session() as session:
        users = [make_user(session, external_id=f"u{place}") for place in range(3)]
        for user, state, priority in zip(
            users, (JobState.QUEUED, JobState.RUNNING, JobState.QUEUED), (5, 5, 1), strict=True
        ):
            make_job(
                session, user_id=user.id, kind=JobKind.ADAPT, state=state, priority=priority, lock_key=str(user.id)
            )
        make_job(session, kind=JobKind.EXTRACT_FEATURES, state=JobState.QUEUED, lock_key="other")
    with database.read_session() as session:
        found = schedule.list_enqueued(session)
    assert [row.user_id for row in found] == [users[1].id, users[2].id, users[0].id]
