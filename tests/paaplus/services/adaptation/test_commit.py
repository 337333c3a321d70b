"""Trainings of several users that are committed in one transaction: what happens to one of them concerns no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
import structlog

from paaplus.db.engine import Database
from paaplus.db.tables import DeliveryRow, EventRow, JobRow
from paaplus.db.tables.jobs import JobState
from paaplus.db.types import utcnow
from paaplus.pipelines.run_jobs import run_next
from paaplus.queue import jobs
from paaplus.queue.jobs import RetryPolicy
from paaplus.services import events, scheduling
from paaplus.services.adaptation import commit
from paaplus.services.adapters import rollbacks, versions
from paaplus.services.operations import erasures
from paaplus.services.webhooks import webhooks
from paaplus.settings import Settings
from tests.support.deployment import Deployment
from tests.support.factories import APPLICATION

Finished = Sequence[tuple[UUID, commit.RunResult]]


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


@pytest.fixture(autouse=True)
def _bare_logs() -> Iterator[None]:
    """Plain tracebacks: structlog's default prints every array, which takes many seconds."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()])
    yield
    structlog.reset_defaults()


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of users of each transaction that was tried."""
    sizes: list[int] = []
    once = commit._write_held

    def counted(session: object, finished: Finished, data: Sequence[bytes]) -> object:
        sizes.append(len(finished))
        return once(session, finished, data)

    monkeypatch.setattr(commit, "_write_held", counted)
    return sizes


def before_the_commit(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Let something happen after the trainings, before their transaction begins."""
    once = commit.commit_many

    def later(database: Database, finished: Finished) -> object:
        act()
        return once(database, finished)

    monkeypatch.setattr(commit, "commit_many", later)


def due(deployment: Deployment, num_users: int) -> list[UUID]:
    """Users with an active version and a queued training."""
    users = [deployment.add_user(f"user{i}") for i in range(num_users)]
    for images in (range(30), range(30, 60)):
        deployment.work()
        for seed, user in enumerate(users):
            deployment.rate(user, images, seed=seed)
    scheduling.scan(deployment.database, deployment.settings)
    return users


def job_of(deployment: Deployment, user: UUID) -> JobRow:
    with deployment.database.read_session() as session:
        return jobs.list_jobs(session, user_id=user)[0]


def moves(deployment: Deployment, user: UUID) -> list[str]:
    """Oldest first."""
    with deployment.database.read_session() as session:
        return [entry.move.value for entry in versions.history(session, user)][::-1]


def told(deployment: Deployment, user: UUID) -> list[EventRow]:
    with deployment.database.read_session() as session:
        return events.after(session, user, events.NONE, 100)


@pytest.mark.slow
def test_claim_is_committed_in_one_transaction_with_history_events_and_deliveries_of_each(
    deployment: Deployment, groups: list[int]
) -> None:
    users = due(deployment, 4)
    with deployment.database.session() as session:
        versions.pin(session, users[0], 1, actor="test", reason="keep it")
        webhooks.create(
            session,
            application=APPLICATION,
            url="https://1.1.1.1/hook",
            kinds=None,
            actor="test",
            settings=deployment.settings,
        )
    groups.clear()
    assert run_next(deployment.context, ["cpu"]) == 4
    assert groups == [4]
    pinned, *others = users
    assert [(v.number, v.state) for v in deployment.versions(pinned)] == [(1, "active"), (2, "candidate")]
    assert moves(deployment, pinned) == ["gate_promoted", "pinned", "gate_refused"]
    for user in others:
        assert [(v.number, v.state) for v in deployment.versions(user)] == [(1, "retired"), (2, "active")]
        assert moves(deployment, user) == ["gate_promoted", "gate_promoted"]
        assert [event.kind for event in told(deployment, user)] == ["adapter.promoted", "training.finished"] * 2
        finished = told(deployment, user)[-1].data
        assert (finished["version"], finished["outcome"], finished["trained_sequence"]) == (2, "promoted", 60)
        assert finished["run_id"] == str(deployment.runs(user)[-1].id) == str(deployment.versions(user)[-1].run_id)
        row = deployment.user(user)
        assert (row.trained_sequence, row.pending_count, row.due_reason) == (60, 0, None)
        job = job_of(deployment, user)
        assert (job.state, job.lease_token, job.progress_done) == (JobState.SUCCEEDED, None, job.progress_total)
    with deployment.database.read_session() as session:
        delivered = set(session.execute(sa.select(DeliveryRow.event_id)).scalars())
    assert delivered == {event.id for user in users for event in told(deployment, user)[2:]}


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.slow
def test_user_whose_rows_are_refused_spoils_no_other_and_keeps_nothing(
    deployment: Deployment, groups: list[int]
) -> None:
    users = due(deployment, 4)
    groups.clear()
    with deployment.database.session() as session:
        session.execute(
            sa.text(
                f"create trigger no_version before insert on adapters when new.user_id = '{users[1].hex}' "
                "begin select raise(abort, 'no version'); end"
            )
        )
    assert run_next(deployment.context, ["cpu"]) == 4
    assert groups == [4, 1, 1, 1, 1]
    assert [len(deployment.versions(user)) for user in users] == [2, 1, 2, 2]
    refused = users[1]
    assert [v.state for v in deployment.versions(refused)] == ["active"], "it is served as before"
    assert (len(deployment.runs(refused)), len(told(deployment, refused))) == (1, 2)
    assert deployment.user(refused).trained_sequence == 30
    job = job_of(deployment, refused)
    assert (job.state, job.attempts) == (JobState.QUEUED, 1)
    assert "no version" in str(job.last_error)
    with deployment.database.session() as session:
        session.execute(sa.text("drop trigger no_version"))
        session.execute(sa.update(JobRow).where(JobRow.user_id == refused).values(run_after=utcnow()))
    assert run_next(deployment.context, ["cpu"]) == 1
    assert [(v.number, v.state) for v in deployment.versions(refused)] == [(1, "retired"), (2, "active")]


@pytest.mark.slow
def test_who_is_erased_rolled_back_or_claimed_by_another_before_the_commit_is_left_out_of_it(
    deployment: Deployment, groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    erased, back, stolen, *others = due(deployment, 5)
    groups.clear()

    def happen() -> None:
        with deployment.database.session() as session:
            url = deployment.settings.resolved_erasures_url
            erasures.erase(session, deployment.blobs, erased, actor="test", erasures_url=url)
            rollbacks.rollback(session, back, to="base", actor="test", reason="complaint")
            long_ago = utcnow() - timedelta(seconds=1)
            held = sa.update(JobRow).where(JobRow.user_id == stolen, JobRow.state == JobState.RUNNING)
            session.execute(held.values(lease_expires_at=long_ago))
            assert jobs.reap(session, RetryPolicy(0.0, 0.0)).num_reaped == 1
        assert jobs.claim(deployment.database, worker="thief", queues=["cpu"], lease_s=30) is not None

    before_the_commit(monkeypatch, happen)
    assert run_next(deployment.context, ["cpu"]) == 5
    assert groups == [5]
    assert deployment.active(back) is None
    assert [len(deployment.versions(user)) for user in (erased, back, stolen, *others)] == [0, 1, 1, 2, 2]
    assert moves(deployment, back) == ["gate_promoted", "rolled_back"]
    assert (job_of(deployment, stolen).worker, job_of(deployment, stolen).state) == ("thief", JobState.RUNNING)
    assert job_of(deployment, back).state == JobState.QUEUED, "returned to the queue, not lost"
    assert {job_of(deployment, user).state for user in others} == {JobState.SUCCEEDED}
