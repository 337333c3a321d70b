"""A process is killed (SIGKILL) at every named point: afterwards all of it has happened, or nothing."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from paaplus import faults
from paaplus.chaos import invariants
from paaplus.db import due_times
from paaplus.db.due_times import Due
from paaplus.db.engine import Database
from paaplus.db.tables.governance import KeyScope
from paaplus.db.tables.jobs import JobState
from paaplus.db.tables.users import DueReason
from paaplus.db.types import utcnow
from paaplus.pipelines import extract_features
from paaplus.queue import jobs
from paaplus.services.adapters import versions
from paaplus.services.images import images, uploads
from paaplus.services.reviews import pseudo_labels
from paaplus.services.users import keys
from paaplus.services.users.keys import OPERATOR
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from tests.api.conftest import jpeg
from tests.support import acts
from tests.support.deployment import Deployment
from tests.support.factories import APPLICATION
from tests.support.forks import Fork

LEASE_S = 0.3

TRAINING = ("job_claimed", "trained", "old_version_retired", "version_written", "training_uncommitted",
            "training_committed", "jobs_enqueued")  # fmt: skip
REQUESTS = ("feedback_uncommitted", "feedback_committed", "pointer_moved", "user_files_deleted")


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", database_url=database_url, lease_s=LEASE_S, retry_base_s=0.01)


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


def test_every_point_is_tried_here() -> None:
    assert {*TRAINING, *REQUESTS, "features_stored", "labels_stored"} == set(faults.POINTS)


def work_until_quiet(deployment: Deployment) -> None:
    """Another worker, which may have to wait for the lease of the dead one."""
    deadline = time.monotonic() + 90
    while deployment.work() or not is_quiet(deployment):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def make_due(deployment: Deployment, user: UUID) -> None:
    with deployment.database.session() as session:
        due_times.write(session, {user: Due(utcnow(), DueReason.INTERVAL)})


def is_quiet(deployment: Deployment) -> bool:
    with deployment.database.read_session() as session:
        return invariants.is_quiet(session)


@pytest.mark.parametrize("point", TRAINING)
def test_training_killed_at_a_point_happens_once(point: str, deployment: Deployment) -> None:
    user = deployment.add_user(min_new_feedback=1_000)  # so that the scan, not the posting, enqueues the job
    deployment.rate(user, range(40))
    make_due(deployment, user)
    deployment.work()
    before = deployment.scores(user)
    deployment.rate(user, range(40, 80))
    make_due(deployment, user)
    assert Fork(acts.work, deployment.settings, fault=point).wait() == -signal.SIGKILL
    if point != "training_committed":
        assert [v.state for v in deployment.versions(user)] == ["active"]
        assert np.array_equal(deployment.scores(user), before), "half a training is served"
    work_until_quiet(deployment)
    assert [(v.number, v.state) for v in deployment.versions(user)] == [(1, "retired"), (2, "active")]
    assert [(r.from_sequence, r.to_sequence) for r in deployment.runs(user)] == [(0, 40), (40, 80)]
    assert deployment.user(user).trained_sequence == 80


@pytest.mark.parametrize("point", [point for point in TRAINING if point != "jobs_enqueued"])
def test_claim_killed_at_a_point_happens_once_for_everybody(point: str, deployment: Deployment) -> None:
    """Those who are committed in one transaction have their version by then, or none of them; afterwards everybody has
    one, and nobody was to blame."""
    policies = [{"adapter": "bottleneck", "strategy": "replay_ewc", "training": {"num_steps": 5}}, {}]
    users = [deployment.add_user(f"user{i}", **policies[i % 2]) for i in range(6)]
    for seed, user in enumerate(users):
        deployment.rate(user, range(40), seed=seed)
    assert Fork(acts.work, deployment.settings, fault=point).wait() == -signal.SIGKILL
    together = {0, 3} if point == "training_committed" else {0}  # of each strategy
    assert {sum(len(deployment.versions(user)) for user in users[first::2]) for first in (0, 1)} == together
    work_until_quiet(deployment)
    for user in users:
        assert [(v.number, v.state) for v in deployment.versions(user)] == [(1, "active")]
        assert [(r.from_sequence, r.to_sequence) for r in deployment.runs(user)] == [(0, 40)]
        with deployment.database.read_session() as session:
            assert [entry.move for entry in versions.history(session, user)] == ["gate_promoted"]
    with deployment.database.read_session() as session:
        assert {job.state for job in jobs.list_jobs(session)} == {JobState.SUCCEEDED}


def test_worker_paused_past_its_lease_and_resumed_cannot_promote(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(40))
    zombie = Fork(acts.work, deployment.settings, fault="trained:stop")
    zombie.wait_until_stopped()
    time.sleep(LEASE_S)
    work_until_quiet(deployment)
    [version] = deployment.versions(user)
    deployment.rate(user, range(40, 80))  # and the world goes on
    work_until_quiet(deployment)
    now = [(v.number, v.digest, v.state) for v in deployment.versions(user)]
    zombie.resume()
    assert zombie.wait() == 0
    assert [(v.number, v.digest, v.state) for v in deployment.versions(user)] == now
    assert now[0][:2] == (1, version.digest)
    assert len(deployment.runs(user)) == 2


def test_extraction_killed_between_batches_does_every_image_once(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract_features, "cached_extractor", lambda *_: acts.FlatExtractor())
    settings = deployment.settings.model_copy(update={"features_batch_size": 2})
    deployment.context.settings = deployment.settings = settings
    added = [
        uploads.add(deployment.database, deployment.blobs, settings, application=APPLICATION, data=jpeg(20 * i)).row.id
        for i in range(6)
    ]
    assert Fork(acts.work, deployment.settings, fault="features_stored").wait() == -signal.SIGKILL
    assert states(deployment, added).count("ready") == 2
    work_until_quiet(deployment)
    assert states(deployment, added) == ["ready"] * 6


def test_labelling_killed_between_batches_labels_every_image_once(database: Database, settings: Settings) -> None:
    settings = settings.model_copy(update={"features_batch_size": 2})
    deployment = Deployment(database, settings, num_images=6)  # with features, which the tool looks at
    with database.session() as session:
        job_id = pseudo_labels.request(
            session, application=APPLICATION, tools=["generic"], image_ids=None, settings=settings
        )
    assert Fork(acts.work, settings, fault="labels_stored").wait() == -signal.SIGKILL
    with database.read_session() as session:
        first = {row.id for row in pseudo_labels.list_labels(session, OPERATOR)}
    assert len(first) == 2
    work_until_quiet(deployment)
    with database.read_session() as session:
        rows = pseudo_labels.list_labels(session, OPERATOR)
        job = jobs.get(session, job_id)
    assert sorted(row.image_id for row in rows) == sorted(deployment.images)
    assert first < {row.id for row in rows}  # what was done is not done again
    assert (job.state, job.attempts, job.progress_done, job.progress_total) == (JobState.SUCCEEDED, 2, 6, 6)


def states(deployment: Deployment, image_ids: list[UUID]) -> list[str]:
    with deployment.database.read_session() as session:
        found = images.feature_states(session, image_ids, deployment.settings)
    return [found[image_id].state for image_id in image_ids]


class Caller:
    """Calls the application in a process that dies at a point, or in this one."""

    def __init__(self, deployment: Deployment) -> None:
        self._settings = deployment.settings
        with deployment.database.session() as session:
            self._admin = keys.create(session, name="a", scope=KeyScope.ADMIN, actor="test").token
            self._application = keys.create(
                session, name="p", scope=KeyScope.APPLICATION, application=APPLICATION, actor="test"
            ).token

    def call(self, *request: Any) -> Any:
        return acts.request(self._settings, self._key(request), *request)

    def die(self, point: str, *request: Any) -> None:
        fork = Fork(acts.request, self._settings, self._key(request), *request, fault=point)
        assert fork.wait() == -signal.SIGKILL

    def _key(self, request: tuple[Any, ...]) -> str:
        return self._admin if request[1].endswith("/rollback") else self._application


def batch(deployment: Deployment) -> dict[str, object]:
    return {
        "events": [
            {
                "event_id": f"e{i}",
                "user": "anna",
                "kind": "rating",
                "image": str(deployment.images[i]),
                "ratings": {"beauty": 5},
                "scale": {"min": 0, "max": 10},
            }
            for i in range(8)
        ]
    }


@pytest.mark.parametrize(("point", "kept"), [("feedback_uncommitted", 0), ("feedback_committed", 8)])
def test_batch_whose_process_dies_is_kept_whole_or_not_at_all_and_may_be_posted_again(
    point: str, kept: int, deployment: Deployment
) -> None:
    user, caller = deployment.add_user(), Caller(deployment)
    caller.die(point, "POST", "/v1/feedback", batch(deployment))
    assert deployment.user(user).feedback_sequence == kept
    answer = caller.call("POST", "/v1/feedback", batch(deployment))
    assert (answer["accepted"], answer["duplicates"]) == (8 - kept, kept)
    assert [item["sequence"] for item in answer["items"]] == list(range(1, 9))


def test_rollback_whose_process_dies_has_not_happened_and_may_be_asked_again(deployment: Deployment) -> None:
    user, caller = deployment.add_user(), Caller(deployment)
    for part in (range(40), range(40, 80)):
        deployment.rate(user, part)
        deployment.work()
    before = deployment.scores(user)
    request = ("POST", f"/v1/users/{user}/rollback", {"reason": "worse"})
    caller.die("pointer_moved", *request)
    assert np.array_equal(deployment.scores(user), before)
    with deployment.database.read_session() as session:
        assert [act.move for act in versions.history(session, user)] == ["gate_promoted"] * 2
    caller.call(*request)
    assert deployment.active(user).number == 1


def test_erasure_whose_process_dies_is_finished_by_asking_again(deployment: Deployment) -> None:
    user, caller = deployment.add_user(), Caller(deployment)
    own = uploads.add(
        deployment.database,
        deployment.blobs,
        deployment.settings,
        application=APPLICATION,
        data=jpeg(),
        owner_id=user,
    ).row
    caller.die("user_files_deleted", "DELETE", f"/v1/users/{user}")
    assert deployment.user(user).external_id == "anna"
    caller.call("DELETE", f"/v1/users/{user}")
    with deployment.database.read_session() as session:
        assert session.get(type(own), own.id) is None
    assert not BlobStore(deployment.settings.resolved_storage_url).exists(own.sha256)


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_nothing_happens_at_a_point_that_was_not_named(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(40))
    assert Fork(acts.work, deployment.settings, fault="features_stored").wait() == 0
    assert [v.number for v in deployment.versions(user)] == [1]
    with deployment.database.read_session() as session:
        assert {job.state for job in jobs.list_jobs(session)} == {JobState.SUCCEEDED}
