"""Workers, scheduler and broker killed or missing, for real: nothing accepted is lost, one version results.

Run as a deployment would: SQLite with the folder broker, PostgreSQL with Redis.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import JobRow
from paaplus.db.tables.jobs import JobState
from paaplus.settings import Settings
from tests.support.deployment import Deployment
from tests.support.processes import running, start_scheduler, start_worker, wait_until

SLOW = {"adapter": "bottleneck", "strategy": "replay", "training": {"num_steps": 1000}}


@pytest.fixture
def settings(database_kind: str, database_url: str, request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    broker_url = ""
    if database_kind == "postgresql":
        broker_url = request.getfixturevalue("redis_server").url
        redis.Redis.from_url(broker_url).flushall()
    return Settings(
        home=tmp_path / "home",
        database_url=database_url,
        broker_url=broker_url,
        scan_interval_s=0.3,
        lease_s=2.0,
        retry_base_s=0.1,
        device="cpu",
    )


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


def job_states(deployment: Deployment) -> list[JobState]:
    with deployment.database.read_session() as session:
        return list(session.execute(sa.select(JobRow.state).order_by(JobRow.id)).scalars())


def attempts(deployment: Deployment) -> int:
    with deployment.database.read_session() as session:
        return int(session.execute(sa.select(sa.func.max(JobRow.attempts))).scalar_one() or 0)


def test_worker_killed_in_the_middle_of_a_training_makes_one_version(deployment: Deployment) -> None:
    user = deployment.add_user(**SLOW)
    deployment.rate(user, range(40))
    first, scheduler = start_worker(deployment.settings, "first"), start_scheduler(deployment.settings)
    with running(first, scheduler):
        wait_until("the first worker trains", lambda: JobState.RUNNING in job_states(deployment))
        first.kill()
        assert deployment.versions(user) == []
        second = start_worker(deployment.settings, "second")
        with running(second):
            wait_until("the second worker finishes", lambda: len(deployment.versions(user)) == 1)
            assert attempts(deployment) == 2
            wait_until("nothing is left to do", lambda: set(job_states(deployment)) == {JobState.SUCCEEDED})
    assert [v.number for v in deployment.versions(user)] == [1]
    assert len(deployment.runs(user)) == 1


def test_feedback_posted_while_no_worker_and_no_broker_run_is_trained_when_they_come(
    deployment: Deployment, request: pytest.FixtureRequest
) -> None:
    user = deployment.add_user()
    if deployment.settings.broker_url:
        with request.getfixturevalue("redis_server").down():
            deployment.rate(user, range(40))
    else:
        deployment.rate(user, range(40))
    assert job_states(deployment) == [JobState.QUEUED]
    with running(start_worker(deployment.settings), start_scheduler(deployment.settings)):
        wait_until("the feedback is trained", lambda: len(deployment.versions(user)) == 1)
    assert deployment.active(user).high_water_sequence == 40


def test_broker_emptied_while_jobs_wait_loses_none(deployment: Deployment) -> None:
    users = [deployment.add_user(f"user{i}") for i in range(4)]
    for user in users:
        deployment.rate(user, range(20))
    scheduler = start_scheduler(deployment.settings)
    with running(scheduler):
        # the scheduler's messages pile up with nobody to hear them, then all are lost
        if deployment.settings.broker_url:
            broker = redis.Redis.from_url(deployment.settings.broker_url)
            wait_until("a message is in the broker", lambda: bool(broker.keys("*")))
            broker.flushall()
        else:
            folder = deployment.settings.broker_folder / "messages"
            wait_until("a message is in the broker", lambda: folder.exists() and any(folder.iterdir()))
            for message in folder.iterdir():
                message.unlink(missing_ok=True)
        with running(start_worker(deployment.settings)):
            wait_until("every user is trained", lambda: all(deployment.versions(user) for user in users))
    assert all(len(deployment.versions(user)) == 1 for user in users)


def test_two_schedulers_and_two_workers_train_nobody_twice(deployment: Deployment) -> None:
    users = [deployment.add_user(f"user{i}") for i in range(8)]
    services = [start_worker(deployment.settings, f"w{i}") for i in range(2)]
    services += [start_scheduler(deployment.settings, f"s{i}") for i in range(2)]
    with running(*services):
        for images in (range(20), range(20, 40)):
            for user in users:
                deployment.rate(user, images)
            head = images.stop
            wait_until(
                "every user is trained",
                lambda head=head: all(deployment.user(user).trained_sequence == head for user in users),
            )
    for user in users:
        versions = deployment.versions(user)
        assert [v.number for v in versions] == list(range(1, len(versions) + 1))
        assert sum(v.state == "active" for v in versions) == 1
        spans = [(r.from_sequence, r.to_sequence) for r in deployment.runs(user) if r.num_new]
        assert len(spans) == len(set(spans)), "no increment was learned twice"


def test_worker_told_to_stop_gives_its_job_back(deployment: Deployment) -> None:
    endless = {**SLOW, "training": {"num_steps": 10_000}}  # far longer than the worker is given to stop
    user = deployment.add_user(**endless)
    deployment.rate(user, range(40))
    worker = start_worker(deployment.settings)
    with running(start_scheduler(deployment.settings), worker):
        wait_until("the worker trains", lambda: JobState.RUNNING in job_states(deployment))
        assert worker.stop(timeout_s=60.0) == 0
    assert job_states(deployment) == [JobState.QUEUED]
    assert attempts(deployment) == 0
    assert deployment.versions(user) == []
