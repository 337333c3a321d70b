"""Scheduling: which users are due, when and why; and two schedulers make one job."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from paaplus.db import due_times
from paaplus.db.engine import Database
from paaplus.db.tables import DueRow, ExclusionRow, JobRow, UserRow
from paaplus.db.tables.jobs import JobState
from paaplus.db.types import utcnow
from paaplus.db.users import locked_user
from paaplus.errors import NotFound
from paaplus.ids import new_id
from paaplus.queue import jobs
from paaplus.services import scheduling
from paaplus.services.users.users import set_policy
from paaplus.settings import Settings
from tests.support.factories import make_adapter, make_base_model, make_feedback, make_image, make_job, make_user


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


def test_schedulers_at_once_enqueue_each_user_once(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "SCAN_BATCH", 7)
    with database.session() as session:
        user_ids = {make_user(session, next_due_at=utcnow()).id for _ in range(200)}
    num_schedulers = 3
    start = threading.Barrier(num_schedulers)

    def look(_: int) -> int:
        start.wait()
        return scheduling.scan(database, settings).num_enqueued

    with ThreadPoolExecutor(num_schedulers) as threads:
        found = list(threads.map(look, range(num_schedulers)))
    found.append(scheduling.scan(database, settings).num_enqueued)
    assert {job.user_id for job in queued(database)} == user_ids
    assert len(queued(database)) == 200
    assert sum(found) == 200


def test_nothing_waits_for_an_hour_when_the_clock_was_set_back_by_one(database: Database, settings: Settings) -> None:
    """What was due, queued or leased before has times in the future; what is due in an hour stays so."""
    later = timedelta(hours=1)
    due = user_with_feedback(database, 3, policy={"min_new_feedback": 3})
    waits = user_with_feedback(database, 1, policy={"min_new_feedback": 3, "max_interval_s": 3600})
    with database.session() as session:
        session.get_one(DueRow, due).due_at += later
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


def test_due_users_are_found_by_an_index(database: Database) -> None:
    """So that a scan that finds nobody reads nobody."""
    with database.engine.connect() as connection:
        is_postgresql = connection.dialect.name == "postgresql"
        acts = [scheduling._TAKE_AND_ENQUEUE] if is_postgresql else [scheduling._ENQUEUE, scheduling._TAKE]
        if is_postgresql:
            connection.exec_driver_sql("SET enable_seqscan = off")  # a table of few rows is read whole
        for act in acts:
            statement, fixed, order = act._compile(connection.dialect)
            values = jobs.adaptation_values(connection, queue="cpu", max_attempts=3, now=utcnow())
            given = {**fixed, **values, "limit": 10}
            if is_postgresql:
                plan = connection.exec_driver_sql(f"EXPLAIN {statement}", given).all()
            else:
                in_order = tuple(given[name] for name in order or ())
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", in_order).all()
                assert "SCAN jobs" not in str(plan), plan
            assert "ix_due_times_due_at" in str(plan), plan


def test_job_of_a_due_user_has_the_reason_and_the_application(database: Database, settings: Settings) -> None:
    with database.session() as session:
        users = {
            make_user(session, application=f"app-{i}", next_due_at=utcnow() - timedelta(hours=i), due_reason=reason).id:
            (f"app-{i}", reason)
            for i, reason in enumerate(("interval", "drift", "new_prior"))
        }  # fmt: skip
        waits = make_user(session, next_due_at=utcnow() + timedelta(hours=1), due_reason="interval").id
    assert scheduling.scan(database, settings).num_enqueued == 3
    assert {job.user_id: (job.application, job.reason) for job in queued(database)} == users
    assert all(job.lock_key == scheduling.lock_key(job.user_id) for job in queued(database))
    with database.read_session() as session:
        assert session.execute(sa.select(DueRow.user_id)).scalars().all() == [waits]


def test_longest_due_users_are_enqueued_first(database: Database, settings: Settings) -> None:
    with database.session() as session:
        hours = {make_user(session, next_due_at=utcnow() - timedelta(hours=h)).id: h for h in (1, 5, 3, 2, 4)}
    with database.session() as session:
        assert scheduling.enqueue_due(session, settings, limit=2) == 2
    assert sorted(hours[job.user_id] for job in queued(database)) == [4, 5]
    with database.session() as session:
        assert scheduling.enqueue_due(session, settings, limit=9) == 3
        assert scheduling.enqueue_due(session, settings, limit=9) == 0


def test_users_who_are_due_at_the_same_moment_are_enqueued_part_by_part_and_none_is_lost(
    database: Database, settings: Settings
) -> None:
    """On SQLite two statements must choose the same ones of them."""
    moment = utcnow() - timedelta(hours=1)
    with database.session() as session:
        users = {make_user(session, next_due_at=moment).id for _ in range(20)}
        session.execute(sa.update(DueRow).where(DueRow.user_id.in_(list(users)[::2])).values(reason="drift"))
    done: set[UUID] = set()
    for _ in range(7):
        with database.session() as session:
            assert scheduling.enqueue_due(session, settings, limit=3) == min(3, 20 - len(done))
        done = {job.user_id for job in queued(database)}
        with database.read_session() as session:
            assert set(session.execute(sa.select(DueRow.user_id)).scalars()) == users - done
    assert done == users


def test_due_user_with_a_queued_job_keeps_that_job(database: Database, settings: Settings) -> None:
    with database.session() as session:
        user = make_user(session, next_due_at=utcnow())
        job = make_job(session, user_id=user.id, lock_key=scheduling.lock_key(user.id), reason="by_hand")
        other = make_user(session, next_due_at=utcnow())
    assert scheduling.scan(database, settings).num_enqueued == 2
    found = {each.user_id: (each.id == job.id, each.reason) for each in queued(database)}
    assert found == {user.id: (True, "by_hand"), other.id: (False, "new_feedback")}


def test_scan_that_is_rolled_back_leaves_users_due(database: Database, settings: Settings) -> None:
    user_id = user_with_feedback(database, 1, policy={"min_new_feedback": 1})
    with database.session() as session:
        assert scheduling.enqueue_due(session, settings) == 1
        session.rollback()
    assert queued(database) == []
    assert user_row(database, user_id).due_reason == "new_feedback"
    assert scheduling.scan(database, settings).num_enqueued == 1


def test_starting_point_that_changes_waits_for_the_end_of_a_pause(database: Database, settings: Settings) -> None:
    with database.session() as session:
        base = make_base_model(session)
        users = [make_user(session, policy=policy) for policy in ({}, {"paused": False}, {"paused": True})]
        make_user(session)  # without a version
        for user in users:
            make_adapter(session, user, base_model_id=base.id)
        assert scheduling.refresh_after_base_model(session, new_id()) == 3
    assert [user_row(database, user.id).due_reason for user in users] == ["new_base_model"] * 3
    assert scheduling.scan(database, settings).num_enqueued == 2
    assert {job.user_id for job in queued(database)} == {user.id for user in users[:2]}
    paused = user_row(database, users[2].id)
    assert (paused.next_due_at, paused.due_reason) == (None, "new_base_model")
    with database.session() as session:
        set_policy(session, paused.id, {}, actor="test")
    assert scheduling.scan(database, settings).num_enqueued == 1


def test_user_whose_feedback_arrives_during_a_scan_is_enqueued_once_and_waits_for_nobody(
    database: Database, settings: Settings
) -> None:
    """On PostgreSQL, where a posting and a scan are at work at once: in both orders."""
    if database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    policy = {"min_new_feedback": 1}
    posting, other = (user_with_feedback(database, 1, policy=policy) for _ in range(2))
    with database.session() as session:
        scheduling.refresh_due(session, locked_user(session, posting))  # a posting has locked this one
        assert scheduling.scan(database, settings).num_enqueued == 1
        assert [job.user_id for job in queued(database)] == [other]
        due_times.write(session, {posting: due_times.NOT_DUE})
        wanted = [(posting.hex, "new_feedback", "test-app")]
        jobs.enqueue_adaptations(session, wanted, queue="cpu", max_attempts=3, now=utcnow())
    assert scheduling.scan(database, settings).num_enqueued == 0
    assert sorted(job.user_id for job in queued(database)) == sorted((posting, other))
