"""Whoever locks users and jobs locks the users first, see `paaplus.db.locks`: no two transactions wait for each other.

Each test has two connections to PostgreSQL. One transaction has a user; the other one waits for it, and must hold
nothing that the first one needs next. In the other order PostgreSQL would fail one of them after a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.engine import Database
from paaplus.db.locks import lock_user, lock_users
from paaplus.db.tables import JobRow, UserRow
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.db.types import utcnow
from paaplus.ids import first_id_of, new_id
from paaplus.queue import jobs
from paaplus.queue.jobs import DeadJob, Lease, RetryPolicy
from paaplus.services import scheduling
from paaplus.services.operations import retention
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from tests.support.factories import make_job, make_user

pytestmark = pytest.mark.parametrize("database_kind", ["postgresql"])
RETRY = RetryPolicy(0.0, 0.0)


class Beside:
    """An act in another thread. In the block, it waits for a lock of the session; after it, it has ended."""

    def __init__(self, database: Database, session: Session, act: Callable[[], Any]) -> None:
        self._database, self._first, self._act = database, session.connection(), act
        self._threads = ThreadPoolExecutor(1)

    def __enter__(self) -> Future[Any]:
        first = self._first.execute(sa.func.pg_backend_pid().select()).scalar_one()
        waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE :first = ANY (pg_blocking_pids(pid))")
        self.result = self._threads.submit(self._act)
        deadline = time.monotonic() + 30
        # A transaction would see the processes that were there at its first look, and no later one.
        with self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not connection.execute(waiting, {"first": first}).scalar_one():
                assert time.monotonic() < deadline, "it does not wait"
                assert not self.result.done(), self.result
                time.sleep(0.01)
        return self.result

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()


def running(database: Database, *, expires_in_s: float = 60.0, attempts: int = 1) -> tuple[UUID, Lease]:
    """A user whose training a worker holds."""
    token = uuid4()
    with database.session() as session:
        user = make_user(session)
        job = make_job(
            session,
            user_id=user.id,
            lock_key=jobs.adaptation_lock_key(user.id),
            state=JobState.RUNNING,
            attempts=attempts,
            max_attempts=3,
            lease_token=token,
            lease_expires_at=utcnow() + timedelta(seconds=expires_in_s),
            worker="w",
        )
    return user.id, Lease(job.id, token, JobKind.ADAPT, job.lock_key, user.id, {}, "new_feedback", attempts, 3)


def state_of(database: Database, job_id: UUID) -> JobState | None:
    with database.read_session() as session:
        return session.execute(sa.select(JobRow.state).where(JobRow.id == job_id)).scalar_one_or_none()


@pytest.mark.parametrize("attempts", [1, 3])
def test_scan_that_takes_a_job_back_waits_for_its_training_to_commit(
    database: Database, settings: Settings, attempts: int
) -> None:
    user_id, lease = running(database, expires_in_s=-60.0, attempts=attempts)
    with database.session() as session:
        lock_users(session, [user_id])
        with Beside(database, session, lambda: scheduling.scan(database, settings)) as scanned:
            assert jobs.complete_many(session, [lease]) == {lease.job_id}
            session.commit()
    assert scanned.result().num_reaped == 0
    assert state_of(database, lease.job_id) == JobState.SUCCEEDED


def test_scan_that_takes_a_job_back_waits_for_the_erasure_of_its_user(database: Database, settings: Settings) -> None:
    user_id, lease = running(database, expires_in_s=-60.0, attempts=3)
    with database.session() as session:
        session.get_one(UserRow, user_id, with_for_update=True)
        with Beside(database, session, lambda: scheduling.scan(database, settings)) as scanned:
            session.execute(sa.delete(UserRow).where(UserRow.id == user_id))
            session.commit()
    assert scanned.result().num_reaped == 0
    assert state_of(database, lease.job_id) is None


def test_clock_that_is_forgiven_holds_no_job_while_a_scan_waits_for_users(
    database: Database, settings: Settings
) -> None:
    """The lease of one job has ended, and that of another one ends in an hour: the clock was set back."""
    user_id, _ = running(database, expires_in_s=-60.0)
    later, leased = running(database, expires_in_s=3600.0)
    with database.session() as session:
        lock_users(session, [user_id, later])
        with Beside(database, session, lambda: scheduling.scan(database, settings)) as scanned:
            assert jobs.complete_many(session, [leased]) == {leased.job_id}
            session.commit()
    assert scanned.result().num_reaped == 1


def _give_up(database: Database, lease: Lease) -> JobState | None:
    with database.session() as session:
        state = jobs.fail(session, lease, "boom", retryable=False, retry=RETRY)
        if state == JobState.DEAD:
            scheduling.give_up(session, DeadJob(lease.job_id, lease.kind, lease.user_id))
        return state


def _release(database: Database, lease: Lease) -> None:
    with database.session() as session:
        jobs.release(session, lease, "waits")


@pytest.mark.parametrize("act", [_give_up, _release])
def test_job_that_ends_without_a_result_waits_for_the_erasure_of_its_user(
    database: Database, act: Callable[[Database, Lease], JobState | None]
) -> None:
    user_id, lease = running(database)
    with database.session() as session:
        session.get_one(UserRow, user_id, with_for_update=True)
        with Beside(database, session, lambda: act(database, lease)) as ended:
            session.execute(sa.delete(UserRow).where(UserRow.id == user_id))
            session.commit()
    assert ended.result() is None
    assert state_of(database, lease.job_id) is None


def test_retention_deletes_no_job_of_a_user_who_is_being_erased(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    old = utcnow() - timedelta(days=settings.keep_jobs_days + 1)
    with database.session() as session:
        user, other = make_user(session), make_user(session)
        for number, owner in enumerate((user.id, user.id, other.id, None)):
            job_id = UUID(int=first_id_of(old).int + number)
            make_job(session, id=job_id, user_id=owner, state=JobState.SUCCEEDED, lock_key=str(number))
    blobs = BlobStore((tmp_path / "blobs").as_uri())
    with database.session() as session:
        session.get_one(UserRow, user.id, with_for_update=True)
        with Beside(database, session, lambda: retention.apply(database, blobs, settings)) as applied:
            session.execute(sa.delete(UserRow).where(UserRow.id == user.id))
            session.commit()
    assert applied.result().num_jobs >= 2
    with database.read_session() as session:
        assert session.execute(sa.select(sa.func.count()).select_from(JobRow)).scalar_one() == 0


def test_retention_does_not_wait_for_who_only_changes_a_user(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    old = utcnow() - timedelta(days=settings.keep_jobs_days + 1)
    with database.session() as session:
        user = make_user(session)
        make_job(session, id=first_id_of(old), user_id=user.id, state=JobState.SUCCEEDED)
    with database.session() as session:
        assert lock_user(session, user.id) is not None
        assert retention.apply(database, BlobStore((tmp_path / "blobs").as_uri()), settings).num_jobs == 1


def test_new_base_model_locks_users_in_the_order_of_their_ids(database: Database) -> None:
    """The rows lie in the other order, in which an update reads them."""
    low, high = sorted((new_id(), new_id()))
    for user_id in (high, low):
        with database.session() as session:
            make_user(session, id=user_id)

    def refresh() -> None:
        with database.session() as session:
            scheduling.refresh_after_base_model(session, new_id())

    with database.session() as session:
        assert lock_user(session, low) is not None
        with Beside(database, session, refresh) as refreshed:
            assert lock_user(session, high) is not None
            session.commit()
    refreshed.result()
    with database.read_session() as session:
        assert session.execute(sa.select(UserRow.epoch)).scalars().all() == [1, 1]
