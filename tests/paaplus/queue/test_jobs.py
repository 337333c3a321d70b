"""The job table on both databases: one running and one queued job per lock, leases, fences, back-off."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import JobRow
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.db.types import utcnow
from paaplus.errors import LeaseLost, NotFound
from paaplus.ids import new_id
from paaplus.queue import jobs
from paaplus.queue.jobs import Lease, RetryPolicy
from tests.support.factories import make_user

RETRY = RetryPolicy(base_s=0.0, cap_s=0.0)
SLOW_RETRY = RetryPolicy(base_s=60.0, cap_s=600.0)


def enqueue(database: Database, lock_key: str = "adapt:1", **columns: object) -> object:
    with database.session() as session:
        return jobs.enqueue(
            session, JobKind.ADAPT, lock_key, **{"queue": "cpu", "reason": "test", "max_attempts": 3, **columns}
        )


def claim(
    database: Database, worker: str = "w", queues: tuple[str, ...] = ("cpu",), lease_s: float = 30
) -> Lease | None:
    return jobs.claim(database, worker=worker, queues=list(queues), lease_s=lease_s)


def row_of(database: Database, job_id: object) -> JobRow:
    with database.read_session() as session:
        return jobs.get(session, job_id)


def expire(database: Database, lease: Lease) -> None:
    with database.session() as session:
        session.execute(
            sa.update(JobRow).where(JobRow.id == lease.job_id).values(lease_expires_at=utcnow() - timedelta(seconds=1))
        )


def test_enqueue_twice_is_one_queued_job(database: Database) -> None:
    assert enqueue(database) == enqueue(database)
    assert claim(database) is not None
    assert claim(database) is None


def test_enqueue_while_running_queues_one_successor_that_waits_for_the_lock(database: Database) -> None:
    first = enqueue(database)
    lease = claim(database)
    second = enqueue(database)
    assert second != first
    assert claim(database) is None
    with database.session() as session:
        jobs.complete(session, lease)
    assert claim(database).job_id == second


def test_claim_takes_only_its_queues_in_order_of_priority(database: Database) -> None:
    enqueue(database, "a", queue="gpu")
    enqueue(database, "b")
    urgent = enqueue(database, "c", priority=1)
    assert claim(database).job_id == urgent
    assert claim(database).lock_key == "b"
    assert claim(database) is None
    assert claim(database, queues=("cpu", "gpu")).lock_key == "a"


def test_to_find_no_job_takes_no_write_lock(database: Database) -> None:
    """Workers look often, and SQLite has one writer: feedback must not wait for them."""
    other = Database(str(database.engine.url.render_as_string(hide_password=False)))
    began = time.monotonic()
    with other.session() as session:
        session.connection()  # holds SQLite's write lock
        assert claim(database) is None
    other.dispose()
    assert time.monotonic() - began < 2, "it waited for the lock"


def test_claim_leaves_a_job_that_is_not_ready(database: Database) -> None:
    enqueue(database, delay_s=60)
    assert claim(database) is None


def test_complete_twice_or_by_another_worker_is_refused(database: Database) -> None:
    enqueue(database)
    lease = claim(database)
    with database.session() as session:
        jobs.complete(session, lease)
    with pytest.raises(LeaseLost), database.session() as session:
        jobs.complete(session, lease)


def test_worker_that_lost_its_lease_cannot_complete_heartbeat_or_report(database: Database) -> None:
    enqueue(database)
    zombie = claim(database, "zombie")
    expire(database, zombie)
    with database.session() as session:
        assert jobs.reap(session, RETRY).num_reaped == 1
    heir = claim(database, "heir")
    assert heir.job_id == zombie.job_id
    assert heir.attempt == 2
    with database.session() as session:
        assert jobs.heartbeat(session, [zombie], 30) == set()
        with pytest.raises(LeaseLost):
            jobs.report_progress(session, zombie, 1, 2)
        with pytest.raises(LeaseLost):
            jobs.complete(session, zombie)
        assert jobs.fail(session, zombie, "late", retryable=True, retry=RETRY) is None
    with database.session() as session:
        jobs.complete(session, heir)
    assert row_of(database, heir.job_id).state == JobState.SUCCEEDED


def test_heartbeat_keeps_a_job_from_being_reaped(database: Database) -> None:
    enqueue(database)
    lease = claim(database)
    expire(database, lease)
    with database.session() as session:
        assert jobs.heartbeat(session, [lease], 30) == {lease.job_id}
        assert jobs.reap(session, RETRY).num_reaped == 0


def test_fail_backs_off_then_gives_up_after_the_last_attempt(database: Database) -> None:
    job_id = enqueue(database)
    for attempt in (1, 2):
        lease = claim(database)
        assert lease.attempt == attempt
        with database.session() as session:
            assert jobs.fail(session, lease, "boom", retryable=True, retry=RETRY) == JobState.QUEUED
    lease = claim(database)
    with database.session() as session:
        assert jobs.fail(session, lease, "boom", retryable=True, retry=RETRY) == JobState.DEAD
    row = row_of(database, job_id)
    assert (row.state, row.last_error, row.lease_token) == (JobState.DEAD, "boom", None)
    assert claim(database) is None


def test_fail_waits_for_the_back_off(database: Database) -> None:
    enqueue(database)
    lease = claim(database)
    with database.session() as session:
        jobs.fail(session, lease, "boom", retryable=True, retry=SLOW_RETRY)
    assert claim(database) is None
    wait_s = (row_of(database, lease.job_id).run_after - utcnow()).total_seconds()
    assert 55 < wait_s < 121  # U(.5, 1) * 60 * 2


def test_fail_that_no_retry_can_help_is_dead_at_once(database: Database) -> None:
    enqueue(database)
    with database.session() as session:
        assert jobs.fail(session, claim(database), "bad", retryable=False, retry=RETRY) == JobState.DEAD


def test_fail_with_a_successor_queued_leaves_the_work_to_it(database: Database) -> None:
    enqueue(database)
    lease = claim(database)
    successor = enqueue(database)
    with database.session() as session:
        assert jobs.fail(session, lease, "boom", retryable=True, retry=RETRY) == JobState.CANCELLED
    assert claim(database).job_id == successor


def test_release_gives_the_attempt_back(database: Database) -> None:
    enqueue(database)
    with database.session() as session:
        jobs.release(session, claim(database), "stopping")
    assert claim(database).attempt == 1


def test_reap_gives_up_a_job_that_killed_every_worker_and_names_its_user(database: Database) -> None:
    from tests.support.factories import make_user

    with database.session() as session:
        user_id = make_user(session).id
    enqueue(database, max_attempts=1, user_id=user_id)
    expire(database, claim(database))
    with database.session() as session:
        report = jobs.reap(session, RETRY)
    assert (report.num_reaped, [job.user_id for job in report.dead]) == (1, [user_id])


def test_get_of_an_unknown_job_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound, match="does not exist"), database.read_session() as session:
        jobs.get(session, new_id())


def test_claim_by_many_workers_at_once_gives_each_job_to_one(database: Database) -> None:
    num_jobs, num_workers = 24, 4
    for i in range(num_jobs):
        enqueue(database, f"adapt:{i // 2}" if i % 2 == 0 else f"other:{i}")
    claimed: list[object] = []
    start = threading.Barrier(num_workers)

    def work(name: str) -> None:
        start.wait()
        while (lease := claim(database, name)) is not None:
            claimed.append(lease.job_id)
            with database.session() as session:
                jobs.complete(session, lease)

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(num_workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == num_jobs
    assert len(set(claimed)) == num_jobs


def claim_together(database: Database, limit: int = 4, worker: str = "w") -> list[Lease]:
    return jobs.claim_together(database, worker=worker, queues=["cpu"], lease_s=30, limit=limit)


def test_claim_together_takes_the_next_of_the_queue_each_with_its_own_lease(database: Database) -> None:
    job_ids = [enqueue(database, f"adapt:{i}") for i in range(5)]
    urgent = enqueue(database, "adapt:urgent", priority=1)
    leases = claim_together(database)
    assert [lease.job_id for lease in leases] == [urgent, *job_ids[:3]]
    assert len({lease.token for lease in leases}) == 4
    for lease in leases:
        row = row_of(database, lease.job_id)
        assert (row.state, row.lease_token, row.attempts) == (JobState.RUNNING, lease.token, 1)
    with database.session() as session:
        jobs.complete(session, leases[1])
    assert row_of(database, urgent).state == JobState.RUNNING, "the other leases must not change"
    assert [lease.job_id for lease in claim_together(database)] == job_ids[3:]
    assert claim_together(database) == []


def test_claim_together_leaves_running_users_and_jobs_that_are_not_ready(database: Database) -> None:
    enqueue(database, "adapt:busy")
    claim(database)
    enqueue(database, "adapt:busy")
    enqueue(database, "adapt:later", delay_s=60)
    enqueue(database, "adapt:other", queue="gpu")
    ready = enqueue(database, "adapt:ready")
    assert [lease.job_id for lease in claim_together(database)] == [ready]


def test_claim_together_keeps_the_order_and_claims_other_kinds_alone(database: Database) -> None:
    first, second = enqueue(database, "adapt:0"), enqueue(database, "adapt:1")
    with database.session() as session:
        kind = JobKind.EXTRACT_FEATURES
        extraction = jobs.enqueue(session, kind, "features", queue="cpu", reason="test", max_attempts=3)
    last = enqueue(database, "adapt:2")
    claims = [[lease.job_id for lease in claim_together(database)] for _ in range(3)]
    assert claims == [[first, second], [extraction], [last]]


def test_job_that_was_tried_before_is_claimed_alone(database: Database) -> None:
    """It may have killed its worker, so no other job may be in a batch with it."""
    for i in range(4):
        enqueue(database, f"adapt:{i}")
    for lease in claim_together(database, limit=2):
        expire(database, lease)
    with database.session() as session:
        assert jobs.reap(session, RETRY).num_reaped == 2
    claims = [{lease.lock_key for lease in claim_together(database)} for _ in range(3)]
    assert claims == [{"adapt:2", "adapt:3"}, {"adapt:0"}, {"adapt:1"}]
    with database.session() as session:
        session.execute(sa.update(JobRow).values(state=JobState.QUEUED, attempts=0))
    assert len(claim_together(database)) == 4, "released jobs keep their attempts and can be batched"


def test_heartbeat_of_many_returns_the_leases_still_held(database: Database) -> None:
    for i in range(3):
        enqueue(database, f"adapt:{i}")
    leases = claim_together(database)
    for lease in leases:
        expire(database, lease)
    with database.session() as session:  # as if another worker had claimed it since
        session.execute(sa.update(JobRow).where(JobRow.id == leases[1].job_id).values(lease_token=new_id()))
    with database.session() as session:
        assert jobs.heartbeat(session, leases, 30) == {leases[0].job_id, leases[2].job_id}
        assert jobs.heartbeat(session, [], 30) == set()
        assert jobs.reap(session, RETRY).num_reaped == 1
    assert [row_of(database, lease.job_id).state for lease in leases] == ["running", "queued", "running"]


def test_claims_together_at_once_never_share_a_job(database: Database) -> None:
    num_jobs, num_workers = 40, 4
    for i in range(num_jobs):
        enqueue(database, f"adapt:{i}")
    claims: list[list[Lease]] = []
    start = threading.Barrier(num_workers)

    def work(name: str) -> None:
        start.wait()
        while len(claims) < num_jobs and sum(map(len, claims)) < num_jobs:
            claims.append(claim_together(database, limit=7, worker=name))

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(num_workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    claimed = [lease.job_id for leases in claims for lease in leases]
    assert len(claimed) == len(set(claimed)) == num_jobs
    assert max(map(len, claims)) <= 7


def test_adaptations_together_are_as_those_enqueued_alone(database: Database) -> None:
    """Ids and keys are made by the database; a job that waits or runs is kept, in either way of enqueuing."""
    with database.session() as session:
        users = [make_user(session) for _ in range(40)]
        waits, runs = users[:2]
        for user in (waits, runs):
            jobs.enqueue(
                session, JobKind.ADAPT, jobs.adaptation_lock_key(user.id), queue="cpu", reason="by_hand",
                max_attempts=3, user_id=user.id, priority=1 if user is runs else 5,
            )  # fmt: skip
    running = claim(database)
    assert running is not None
    assert running.user_id == runs.id
    now = utcnow()
    for _ in range(2):
        with database.session() as session:
            wanted = [(user.id.hex, "new_feedback", user.application) for user in users]
            jobs.enqueue_adaptations(session, wanted, queue="cpu", max_attempts=3, now=now)
    with database.read_session() as session:
        rows = list(session.execute(sa.select(JobRow).order_by(JobRow.id)).scalars())
    queued = [row for row in rows if row.state == JobState.QUEUED]
    assert [row.user_id for row in queued] == [waits.id, runs.id, *(user.id for user in users[2:])]
    assert [row.reason for row in queued] == ["by_hand", *["new_feedback"] * 39]
    for row, user in zip(queued, users, strict=True):
        assert (row.lock_key, row.application) == (jobs.adaptation_lock_key(user.id), user.application)
        assert (row.id.version, row.payload, row.attempts, row.run_after <= utcnow()) == (7, {}, 0, True)
    assert len(rows) == 41, "and the one that runs"
    with database.session() as session:
        jobs.enqueue_adaptations(session, [], queue="cpu", max_attempts=3, now=now)
