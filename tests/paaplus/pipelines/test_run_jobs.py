"""A job that hangs loses its lease, although its process is alive."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import JobRow
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.pipelines import run_jobs
from paaplus.pipelines.context import Running
from paaplus.queue import jobs
from paaplus.services import scheduling
from paaplus.settings import Settings
from tests.support.deployment import Deployment
from tests.support.processes import wait_until


def test_job_that_hangs_is_taken_back_after_the_time_limit(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"lease_s": 0.5, "task_time_limit_s": 1.0, "retry_base_s": 60.0}
    deployment = Deployment(database, settings.model_copy(update=limits), num_images=0)
    hanging, freed = threading.Event(), threading.Event()

    def hang(_running: Running) -> str:
        hanging.set()
        freed.wait(60)
        return "too late"

    monkeypatch.setitem(run_jobs.PIPELINES, JobKind.EXTRACT_FEATURES, run_jobs.one_at_a_time(hang))
    with database.session() as session:
        jobs.enqueue(session, JobKind.EXTRACT_FEATURES, "test", queue="cpu", reason="test", max_attempts=3)
    worker = threading.Thread(target=run_jobs.run_next, args=(deployment.context, ["cpu"]))
    worker.start()
    try:
        assert hanging.wait(60)
        wait_until("the job is taken back", lambda: scheduling.scan(database, deployment.settings).num_reaped == 1, 60)
    finally:
        freed.set()
        worker.join()
    with database.read_session() as session:
        job = session.execute(sa.select(JobRow)).scalar_one()
    assert (job.state, job.attempts) == (JobState.QUEUED, 1)
    assert "went silent" in job.last_error
