"""Scheduling: which users are due, when and why; and two schedulers make one job."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.row_sets import driver_value
from paaplus.db.tables import ExclusionRow, JobRow, UserRow
from paaplus.db.tables.jobs import JobState
from paaplus.db.types import utcnow
from paaplus.errors import NotFound
from paaplus.ids import new_id
from paaplus.queue import jobs
from paaplus.services import scheduling
from paaplus.settings import Settings
from tests.support.factories import make_feedback, make_image, make_job, make_user


def user_with_feedback(database: Database, num: int, **columns: object) -> object:
    with database.session() as session:
        user = make_user(session, **columns)
        for _ in range(num):
            make_feedback(session, user, image_id=make_image(session).id)
        scheduling.refresh_due(session, user)
        return user.id


def user_row(database: Database, user_id: object) -> UserRow:
    with database.read_session() as session:
        return session.get(UserRow, user_id)


def queued(database: Database) -> list[JobRow]:
    with database.read_session() as session:
        return list(session.execute(sa.select(JobRow).where(JobRow.state == JobState.QUEUED)).scalars())


def test_due_at_once_with_enough_new_feedback(database: Database, settings: Settings) -> None:
    user_id = user_with_feedback(database, 3, policy={"min_new_feedback": 3})
    assert user_row(database, user_id).due_reason == "new_feedback"
    assert scheduling.scan(database, settings).num_enqueued == 1
    assert scheduling.scan(database, settings).num_enqueued == 0, "an enqueued user is not due any more"
    assert [job.user_id for job in queued(database)] == [user_id]


def test_due_after_the_interval_with_too_little_feedback(database: Database, settings: Settings) -> None:
    user_id = user_with_feedback(database, 1, policy={"min_new_feedback": 3, "max_interval_s": 3600})
    row = user_row(database, user_id)
    assert row.due_reason == "interval"
    assert 3590 < (row.next_due_at - utcnow()).total_seconds() <= 3600
    assert scheduling.scan(database, settings).num_enqueued == 0
    with database.session() as session:
        session.get(UserRow, user_id).last_trained_at = utcnow() - timedelta(hours=2)
        scheduling.refresh_due(session, session.get(UserRow, user_id))
    assert scheduling.scan(database, settings).num_enqueued == 1


def test_not_due_while_paused_or_without_feedback(database: Database, settings: Settings) -> None:
    user_with_feedback(database, 9, policy={"min_new_feedback": 3, "paused": True})
    user_with_feedback(database, 0)
    assert scheduling.scan(database, settings).num_enqueued == 0


def test_excluded_events_do_not_trigger(database: Database, settings: Settings) -> None:
    with database.session() as session:
        user = make_user(session, policy={"min_new_feedback": 1})
        event = make_feedback(session, user, image_id=make_image(session).id)
        session.add(
            ExclusionRow(
                id=new_id(),
                user_id=user.id,
                first_sequence=event.sequence,
                last_sequence=event.sequence,
                reason="r",
                actor="a",
                excluded_epoch=1,
                created_at=utcnow(),
            )
        )
        scheduling.refresh_due(session, user)
        assert scheduling.pending_feedback(session, user.id) == 0
        assert user.next_due_at is None


def test_request_training_by_hand_goes_first_and_also_while_paused(database: Database, settings: Settings) -> None:
    user_with_feedback(database, 3, policy={"min_new_feedback": 3})
    scheduling.scan(database, settings)
    by_hand = user_with_feedback(database, 0, policy={"paused": True})
    with database.session() as session:
        scheduling.request_training(session, by_hand, actor="admin", reason="try it", settings=settings)
    lease = jobs.claim(database, worker="w", queues=["cpu"], lease_s=30)
    assert (lease.user_id, lease.reason) == (by_hand, "by_hand")


def test_request_training_of_an_unknown_user_is_refused(database: Database, settings: Settings) -> None:
    with pytest.raises(NotFound), database.session() as session:
        scheduling.request_training(session, new_id(), actor="admin", reason="r", settings=settings)


def test_user_whose_job_was_given_up_waits_an_interval(database: Database, settings: Settings) -> None:
    user_id = user_with_feedback(database, 3, policy={"min_new_feedback": 3, "max_interval_s": 3600})
    quick = settings.model_copy(update={"max_attempts": 1})
    scheduling.scan(database, quick)
    lease = jobs.claim(database, worker="w", queues=["cpu"], lease_s=30)
    with database.session() as session:
        session.execute(
            sa.update(JobRow).where(JobRow.id == lease.job_id).values(lease_expires_at=utcnow() - timedelta(seconds=1))
        )
    assert scheduling.scan(database, quick).num_reaped == 1
    row = user_row(database, user_id)
    assert (row.next_due_at - utcnow()).total_seconds() > 3590
    assert queued(database) == []


def test_two_schedulers_at_once_enqueue_each_user_once(database: Database, settings: Settings) -> None:
    import threading

    user_ids = {user_with_feedback(database, 1, policy={"min_new_feedback": 1}) for _ in range(20)}
    start = threading.Barrier(2)
    found: list[int] = []

    def look() -> None:
        start.wait()
        found.append(scheduling.scan(database, settings).num_enqueued)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    scheduling.scan(database, settings)
    assert {job.user_id for job in queued(database)} == user_ids
    assert len(queued(database)) == 20
    assert sum(found) == 20


def test_nothing_waits_for_an_hour_when_the_clock_was_set_back_by_one(database: Database, settings: Settings) -> None:
    """What was due, queued or leased before has times in the future; what is due in an hour stays so."""
    later = timedelta(hours=1)
    due = user_with_feedback(database, 3, policy={"min_new_feedback": 3})
    waits = user_with_feedback(database, 1, policy={"min_new_feedback": 3, "max_interval_s": 3600})
    with database.session() as session:
        session.get_one(UserRow, due).next_due_at += later
        queued_before = make_job(session, created_at=utcnow() + later, run_after=utcnow() + later)
        delayed = make_job(session, run_after=utcnow() + timedelta(seconds=500))  # a retry
        leased = make_job(
            session,
            state=JobState.RUNNING,
            attempts=1,
            lease_token=uuid4(),
            lease_expires_at=utcnow() + later,
            worker="w",
        )
    assert scheduling.scan(database, settings).num_enqueued == 1
    with database.read_session() as session:
        assert session.get_one(UserRow, due).next_due_at is None
        assert session.get_one(UserRow, waits).next_due_at > utcnow() + timedelta(minutes=50)
        assert session.get_one(JobRow, queued_before.id).run_after <= utcnow() + timedelta(seconds=1)
        assert session.get_one(JobRow, delayed.id).run_after > utcnow() + timedelta(seconds=400)
        left_s = (session.get_one(JobRow, leased.id).lease_expires_at - utcnow()).total_seconds()
        assert left_s <= settings.lease_s


def test_due_users_are_found_by_an_index_that_has_no_others(database: Database) -> None:
    """So that to clear a due time writes nothing into it, and a scan that finds nobody reads nobody."""
    with database.engine.connect() as connection:
        statement, fixed, order = scheduling._DUE_NOW._compile(connection.dialect)
        given = {**fixed, "now": driver_value(connection.dialect.name, utcnow()), "limit": 10}
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET enable_seqscan = off")  # a table of few rows is read whole
            plan = connection.exec_driver_sql(f"EXPLAIN {statement}", given).all()
        else:
            values = tuple(given[name] for name in order or ())
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
        indexes = {each["name"]: each["dialect_options"] for each in sa.inspect(connection).get_indexes("users")}
    assert "ix_users_next_due_at" in str(plan), plan
    assert "NOT NULL" in str(indexes["ix_users_next_due_at"][f"{connection.dialect.name}_where"]).upper()
