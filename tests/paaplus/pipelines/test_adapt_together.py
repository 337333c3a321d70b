"""Many users trained together: each result equals that of a training alone, and errors of one affect no other."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa
import structlog

from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, JobRow, UserRow
from paaplus.db.tables.jobs import JobState
from paaplus.db.types import utcnow
from paaplus.gate import FeedbackVerdict, JudgedFeedback, feedback_verdicts
from paaplus.pipelines import adapt, learning_sets
from paaplus.pipelines.context import Running
from paaplus.pipelines.run_jobs import run_next
from paaplus.queue import jobs
from paaplus.queue.jobs import Lease, RetryPolicy
from paaplus.scoring.adapters import adapter_from_bytes
from paaplus.scoring.tensors import pack, unpack
from paaplus.services import scheduling
from paaplus.services.adapters import rollbacks
from paaplus.services.operations import erasures
from paaplus.settings import Settings
from tests.support import acts
from tests.support.databases import on_both_databases
from tests.support.deployment import Deployment
from tests.support.forks import Fork

FUSED = {"adapter": "bottleneck", "strategy": "replay_ewc", "training": {"num_steps": 10, "rank": 6}}
CLOSED = {"adapter": "taste_vector", "strategy": "bayes"}
SPANS = (
    [range(20 + 2 * i) for i in range(12)],
    [range(50, 80 - i) for i in range(12)],
)  # images of each user's two increments


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", database_url=database_url)


@pytest.fixture(autouse=True)
def _bare_logs() -> Iterator[None]:
    """Plain tracebacks: structlog's default prints every array, which takes many seconds."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()])
    yield
    structlog.reset_defaults()


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


@pytest.fixture
def alone(sqlite_template: Path, tmp_path: Path) -> Deployment:
    """A second deployment, on SQLite, whose worker takes one job at a time."""
    copy = tmp_path / "alone.db"
    shutil.copyfile(sqlite_template, copy)
    settings = Settings(home=tmp_path / "alone", database_url=f"sqlite:///{copy}", claim_size=1)
    return Deployment(Database(settings.database_url), settings)


def due(deployment: Deployment, policies: list[dict[str, Any]]) -> list[UUID]:
    """Users with a first version, trained one at a time, and new feedback. Their jobs are queued."""
    size = deployment.context.settings.claim_size
    deployment.context.settings.claim_size = 1
    users = [deployment.add_user(f"user{i}", **policy) for i, policy in enumerate(policies)]
    for increment in SPANS:
        deployment.work()
        for i, user in enumerate(users):
            deployment.rate(user, increment[i], seed=i)
    deployment.context.settings.claim_size = size
    scheduling.scan(deployment.database, deployment.settings)
    return users


def states(deployment: Deployment) -> dict[UUID | None, JobRow]:
    """The latest job of each user."""
    with deployment.database.read_session() as session:
        return {job.user_id: job for job in reversed(jobs.list_jobs(session))}


def learned(deployment: Deployment, user: UUID) -> list[np.ndarray]:
    """The scores of all images by each of the user's versions."""
    query = sa.select(AdapterRow.data).where(AdapterRow.user_id == user).order_by(AdapterRow.number)
    with deployment.database.read_session() as session:
        versions = [adapter_from_bytes(data) for data in session.execute(query).scalars()]
    return [each.score(deployment.taste_IR, deployment.generic_IA) for each in versions]


def damage(deployment: Deployment, user: UUID, **numbers: float) -> None:
    """Write numbers into the parameters and the learner state of the user's version."""
    with deployment.database.session() as session:
        row = session.execute(sa.select(AdapterRow).where(AdapterRow.user_id == user)).scalar_one()
        adapter = adapter_from_bytes(row.data)
        if "alpha_A" in numbers:
            adapter = replace(adapter, alpha_A=np.full_like(adapter.alpha_A, numbers.pop("alpha_A")))
        arrays, metadata = unpack(row.learner_state)
        arrays |= {name: np.full_like(arrays[name], value) for name, value in numbers.items()}
        row.data = adapter.to_bytes()
        row.learner_state = pack(arrays, {**metadata, "adapter": adapter.digest})


def steal(deployment: Deployment, user: UUID) -> Lease:
    """Let the lease of the user's job expire, and claim the job by another worker."""
    with deployment.database.session() as session:
        long_ago = utcnow() - timedelta(seconds=1)
        session.execute(sa.update(JobRow).where(JobRow.user_id == user, JobRow.state == "running").values(
            lease_expires_at=long_ago
        ))  # fmt: skip
        assert jobs.reap(session, RetryPolicy(0.0, 0.0)).num_reaped == 1
    lease = jobs.claim(deployment.database, worker="thief", queues=["cpu"], lease_s=30)
    assert lease is not None
    assert lease.user_id == user
    return lease


@on_both_databases
def test_whatever_happens_to_one_of_a_claim_the_others_become_what_they_become_alone(
    deployment: Deployment, alone: Deployment, tmp_path: Path
) -> None:
    """Twelve in one claim: one diverges, one has a broken state, and during the training one user is erased, one is
    rolled back and the job of one is claimed by another worker."""
    users, expected = due(deployment, [FUSED] * 12), due(alone, [FUSED] * 12)
    alone.work()
    infinite, broken, erased, back, stolen, *others = users
    damage(deployment, infinite, alpha_A=6e37)  # finite, but the loss of its scores is not
    damage(deployment, broken, **{"fisher.up.weight": np.nan})
    fault = tmp_path / "fault"  # a file, so that the fault occurs once
    fault.write_text("trained:stop")
    worker = Fork(acts.work, deployment.settings, fault=f"@{fault}")
    worker.wait_until_stopped()  # after the training, before the first commit
    assert {states(deployment)[user].state for user in (erased, back, stolen, *others)} == {JobState.RUNNING}
    with deployment.database.session() as session:
        url = deployment.settings.resolved_erasures_url
        erasures.erase(session, deployment.blobs, erased, actor="test", erasures_url=url)
        rollbacks.rollback(session, back, actor="admin", reason="complaint", to=0)
    thief = steal(deployment, stolen)
    worker.resume()
    assert worker.wait() == 0

    now = states(deployment)
    assert "diverged: replay_ewc: loss " in str(now[infinite].last_error)
    assert "invalid_input: learner state array fisher.up.weight" in str(now[broken].last_error)
    assert [now[user].state for user in (infinite, broken)] == [JobState.DEAD] * 2
    assert [len(deployment.versions(user)) for user in (infinite, broken)] == [1, 1]
    assert erased not in now
    assert deployment.active(back) is None, "its training did not undo the rollback"
    assert (now[back].state, now[back].attempts) == (JobState.SUCCEEDED, 1), (
        "returned to the queue, and then nothing was new"
    )
    assert (now[stolen].state, now[stolen].worker) == (JobState.RUNNING, "thief")
    assert len(deployment.versions(stolen)) == 1
    adapt.run(Running(deployment.context, thief))
    for user in (*others, stolen):
        job, [*_, run] = states(deployment)[user], deployment.runs(user)
        assert job.state == JobState.SUCCEEDED
        assert job.progress_done == job.progress_total == run.metrics["num_ratings"]
        assert [(v.number, v.state) for v in deployment.versions(user)] == [(1, "retired"), (2, "active")]
        before, after = learned(deployment, user)
        alone_before, alone_after = learned(alone, expected[users.index(user)])
        assert np.array_equal(before, alone_before)
        assert np.array_equal(after, alone_after)
        assert not np.allclose(after, before, atol=0.01)


@pytest.mark.slow
def test_everybody_of_a_mixed_claim_is_trained_by_their_own_policy_and_to_the_bit_as_alone(
    deployment: Deployment, alone: Deployment
) -> None:
    another = {**FUSED, "training": {"num_steps": 10, "rank": 3, "seed": 5}}
    policies = [CLOSED, FUSED, another, {"adapter": "taste_vector", "strategy": "mas", "training": {"num_steps": 5}}]
    users, expected = due(deployment, policies * 3), due(alone, policies * 3)
    alone.work()
    assert run_next(deployment.context, ["cpu"]) == 12
    assert {job.state for job in states(deployment).values()} == {JobState.SUCCEEDED}
    for i, (user, other) in enumerate(zip(users, expected, strict=True)):
        mine, theirs = deployment.versions(user)[-1], alone.versions(other)[-1]
        assert (mine.number, mine.strategy) == (2, policies[i % 4]["strategy"])
        assert mine.digest == theirs.digest
        assert set(deployment.runs(user)[-1].timings) == {"read_s", "train_s", "judge_s"}


@on_both_databases
def test_user_who_crashes_the_claim_is_found_and_tried_again_alone(deployment: Deployment, alone: Deployment) -> None:
    users, expected = due(deployment, [FUSED] * 5), due(alone, [FUSED] * 5)
    alone.work()
    damage(deployment, users[2], buffer_seed=-1)  # the right shape, but no valid seed
    assert run_next(deployment.context, ["cpu"]) == 5
    now = states(deployment)
    assert [len(deployment.versions(user)) for user in users] == [2, 2, 1, 2, 2]
    for user, other in zip(users, expected, strict=True):
        if user != users[2]:
            assert deployment.versions(user)[-1].digest == alone.versions(other)[-1].digest
    assert (now[users[2]].state, now[users[2]].attempts) == (JobState.QUEUED, 1)
    assert "expected non-negative integer" in str(now[users[2]].last_error)
    deployment.rate(users[0], range(80, 100))
    scheduling.scan(deployment.database, deployment.settings)
    with deployment.database.session() as session:
        session.execute(sa.update(JobRow).where(JobRow.user_id == users[2]).values(run_after=utcnow(), priority=1))
    assert run_next(deployment.context, ["cpu"]) == 1, "a job that failed is not batched with others"
    assert run_next(deployment.context, ["cpu"]) == 1
    assert len(deployment.versions(users[0])) == 3


def test_user_who_cannot_be_judged_fails_alone(
    deployment: Deployment, alone: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, expected = due(deployment, [CLOSED] * 4), due(alone, [CLOSED] * 4)
    alone.work()

    def verdicts(judged: Sequence[JudgedFeedback]) -> list[FeedbackVerdict]:
        if any(len(each.rated) == 51 for each in judged):  # as the second user has
            raise ValueError("cannot be judged")
        return feedback_verdicts(judged)

    monkeypatch.setattr(learning_sets, "feedback_verdicts", verdicts)
    assert run_next(deployment.context, ["cpu"]) == 4
    now = states(deployment)
    assert [len(deployment.versions(user)) for user in users] == [2, 1, 2, 2]
    for user, other in zip(users, expected, strict=True):
        if user != users[1]:
            assert deployment.versions(user)[-1].digest == alone.versions(other)[-1].digest
    assert (now[users[1]].state, now[users[1]].attempts) == (JobState.QUEUED, 1)
    assert "cannot be judged" in str(now[users[1]].last_error)


class SetAfterChecks(threading.Event):
    """An event that is set after a number of checks: the worker is asked to stop in the middle of its work."""

    def __init__(self, num_checks: int) -> None:
        super().__init__()
        self.num_checks = num_checks

    def is_set(self) -> bool:
        self.num_checks -= 1
        return self.num_checks < 0


@pytest.mark.parametrize("num_checks", [0, 2, 8])
def test_worker_that_stops_returns_all_jobs_without_counting_the_attempt(
    num_checks: int, deployment: Deployment
) -> None:
    """At the start, during reading, during training."""
    users = due(deployment, [FUSED] * 4)
    deployment.context.stopping = SetAfterChecks(num_checks)
    assert run_next(deployment.context, ["cpu"]) == 4
    now = states(deployment)
    assert [(now[user].state, now[user].attempts) for user in users] == [(JobState.QUEUED, 0)] * 4
    assert all("stop" in str(now[user].last_error) for user in users)
    assert [len(deployment.versions(user)) for user in users] == [1] * 4
    deployment.context.stopping = threading.Event()
    assert run_next(deployment.context, ["cpu"]) == 4
    assert [len(deployment.versions(user)) for user in users] == [2] * 4


def test_users_without_new_feedback_or_features_are_not_trained(deployment: Deployment) -> None:
    users = due(deployment, [CLOSED] * 5)
    paused, waiting, *others = users
    with deployment.database.session() as session:
        session.get(UserRow, paused).policy = {"paused": True}
    deployment.images.append(deployment.add_image_without_features())
    deployment.post(deployment.rating(waiting, "early", len(deployment.images) - 1, 5.0))
    assert run_next(deployment.context, ["cpu"]) == 5
    now = states(deployment)
    assert now[paused].state == JobState.SUCCEEDED
    assert (now[waiting].state, now[waiting].attempts) == (JobState.QUEUED, 0)
    assert "1 rated image" in str(now[waiting].last_error)
    assert [len(deployment.versions(user)) for user in (paused, waiting, *others)] == [1, 1, 2, 2, 2]


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_end_of_a_job_that_cannot_be_stored_is_raised_after_the_others(deployment: Deployment) -> None:
    users = due(deployment, [CLOSED] * 4)
    with deployment.database.session() as session:
        session.execute(
            sa.text(
                "create trigger no_end before update on jobs when new.state != 'running' "
                f"and old.user_id = '{users[1].hex}' begin select raise(abort, 'no end'); end"
            )
        )
    with pytest.raises(sa.exc.SQLAlchemyError, match="no end"):
        run_next(deployment.context, ["cpu"])
    assert [len(deployment.versions(user)) for user in users] == [2, 1, 2, 2]
    assert states(deployment)[users[1]].state == JobState.RUNNING, "until its lease expires"


def test_gate_decides_on_users_trained_together_as_on_each_alone(deployment: Deployment, alone: Deployment) -> None:
    reports = []
    for each in (deployment, alone):
        users = [each.add_user(f"user{i}", **FUSED) for i in range(4)]
        for i, user in enumerate(users):
            each.rate(user, range(60), seed=i, flip=i != 0)
        assert each.work() == 4
        reports.append([each.versions(user)[0].gate_report for user in users])
    for mine, theirs in zip(*reports, strict=True):
        assert mine["promote"] == theirs["promote"]
        for check, other in zip(mine["checks"], theirs["checks"], strict=True):
            assert (check["name"], check["passed"]) == (other["name"], other["passed"])
            if check["name"] == "order":  # a verdict is the same up to rounding, decision 36
                assert check["value"] == pytest.approx(other["value"], rel=1e-12)
            else:
                assert check["value"] == other["value"]
