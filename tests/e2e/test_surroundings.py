"""What stands around the platform fails: database restarted, broker gone and back, disk full, clocks that jump."""

from __future__ import annotations

import os
import subprocess
import threading
import time
import urllib.error
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis
import sqlalchemy as sa
from starlette.testclient import TestClient

from paaplus import ids
from paaplus.api.app import create_app
from paaplus.chaos import invariants
from paaplus.db import clock, migrate
from paaplus.db.engine import Database
from paaplus.db.tables import FeedbackRow, ImageRow
from paaplus.db.tables.governance import KeyScope
from paaplus.errors import LeaseLost
from paaplus.pipelines import adapt
from paaplus.pipelines.context import Running
from paaplus.queue import jobs
from paaplus.services import scheduling
from paaplus.services.adapters import versions
from paaplus.services.users import keys
from paaplus.settings import Settings
from tests.api.conftest import jpeg
from tests.e2e.test_api_process import Api
from tests.support.deployment import Deployment
from tests.support.factories import APPLICATION
from tests.support.processes import running, start_scheduler, start_worker, wait_until
from tests.support.servers import GivenServer, PostgresServer, RedisServer

DISK_BYTES = 3 * 2**20


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


def rating(deployment: Deployment, number: int, *, padding: int = 0) -> dict[str, Any]:
    return {
        "event_id": f"e{number}-" + "x" * padding,
        "user": "anna",
        "kind": "rating",
        "image": str(deployment.images[number % 100]),
        "ratings": {"beauty": 5.0},
        "scale": {"min": 0, "max": 10},
    }


# --- database and broker


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_database_restarted_under_load_loses_nothing_that_was_acknowledged(
    deployment: Deployment, postgres_server: PostgresServer | GivenServer
) -> None:
    user = deployment.add_user("anna", min_new_feedback=1_000_000)
    api = Api(deployment)
    acknowledged: set[str] = set()
    refused: list[int] = []
    done = threading.Event()

    def post(writer: int) -> None:
        number = writer
        while not done.is_set():
            event = rating(deployment, number)
            try:
                api.post("/v1/feedback", event)
            except urllib.error.HTTPError as error:
                refused.append(error.code)
                time.sleep(0.05)
                continue  # the same event again, as its answer asks for
            acknowledged.add(event["event_id"])
            number += 3

    with running(api.service):
        wait_until("the API is ready", api.is_ready)
        writers = [threading.Thread(target=post, args=(w,)) for w in range(3)]
        for writer in writers:
            writer.start()
        for _ in range(2):
            goal, noticed = len(acknowledged) + 20, len(refused)
            wait_until("feedback is accepted", lambda goal=goal: len(acknowledged) > goal)  # type: ignore[misc]
            with postgres_server.down():
                wait_until("writers notice", lambda noticed=noticed: len(refused) > noticed)  # type: ignore[misc]
        before = len(acknowledged)
        wait_until("feedback is accepted again", lambda: len(acknowledged) > before + 20)
        done.set()
        for writer in writers:
            writer.join()
    assert set(refused) == {503}
    deployment.database.dispose()  # connections of the server before: used just now, they would be trusted
    with deployment.database.read_session() as session:
        rows = session.execute(sa.select(FeedbackRow.event_id, FeedbackRow.sequence)).all()
    assert acknowledged <= {event_id for event_id, _ in rows}
    assert sorted(sequence for _, sequence in rows) == list(range(1, len(rows) + 1))
    assert deployment.user(user).feedback_sequence == len(rows)


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_broker_that_goes_away_under_a_running_worker_and_comes_back_empty_loses_no_training(
    database: Database, settings: Settings, redis_server: RedisServer | GivenServer
) -> None:
    redis.Redis.from_url(redis_server.url).flushall()
    settings = settings.model_copy(update={"broker_url": redis_server.url, "scan_interval_s": 0.3, "device": "cpu"})
    deployment = Deployment(database, settings)
    user = deployment.add_user()
    with running(start_worker(settings), start_scheduler(settings)):
        deployment.rate(user, range(20))
        wait_until("the first training", lambda: len(deployment.versions(user)) == 1)
        with redis_server.down():
            deployment.rate(user, range(20, 40))
            time.sleep(1.0)
        wait_until("the training of what came meanwhile", lambda: deployment.user(user).trained_sequence == 40)
    assert [(run.from_sequence, run.to_sequence) for run in deployment.runs(user)] == [(0, 20), (20, 40)]


# --- disk full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of three megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "paaplus-test", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path, *, leave_bytes: int) -> Path:
    """A file that leaves this much of the disk; deleting it makes room again."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    os.truncate(filler, max(0, filler.stat().st_size - leave_bytes))
    return filler


def new_key(database: Database) -> str:
    with database.session() as session:
        return keys.create(session, name="p", scope=KeyScope.APPLICATION, application=APPLICATION, actor="test").token


def caller(client: TestClient, key: str) -> Any:
    return lambda path, **options: client.post(path, headers={"Authorization": f"Bearer {key}"}, **options)


def test_full_disk_under_sqlite_refuses_feedback_keeps_what_was_accepted_and_goes_on_afterwards(
    small_disk: Path, tmp_path: Path
) -> None:
    _full_database(f"sqlite:///{small_disk / 'paaplus.db'}", tmp_path, lambda: fill(small_disk, leave_bytes=40_960))


def test_database_that_may_not_grow_refuses_feedback_and_keeps_what_was_accepted(tmp_path: Path) -> None:
    """The same error of SQLite's without a mount: a bound on its pages."""
    url = f"sqlite:///{tmp_path / 'paaplus.db'}"

    def bound() -> None:
        @sa.event.listens_for(sa.Pool, "connect")
        def limit(connection: Any, _record: Any) -> None:
            pages = connection.execute("pragma page_count").fetchone()[0]
            connection.execute(f"pragma max_page_count={pages + 8}")

        bounds.append(limit)

    bounds: list[Any] = []
    try:
        _full_database(url, tmp_path, bound, unbound=lambda: sa.event.remove(sa.Pool, "connect", bounds[0]))
    finally:
        with suppress(sa.exc.InvalidRequestError):
            sa.event.remove(sa.Pool, "connect", bounds[0])


def _full_database(url: str, tmp_path: Path, make_full: Any, unbound: Any = None) -> None:
    migrate.upgrade(url)
    database = Database(url)
    settings = Settings(home=tmp_path / "home", database_url=url)
    deployment = Deployment(database, settings, num_images=100)
    user = deployment.add_user("anna", min_new_feedback=1_000_000)
    key = new_key(database)
    database.dispose()
    filler = make_full()
    accepted, number = [], 0
    with TestClient(create_app(settings)) as client:
        call = caller(client, key)
        while True:
            event = rating(deployment, number, padding=100)
            answer = call("/v1/feedback", json=event)
            if answer.status_code != 201:
                break
            accepted.append(event["event_id"])
            number += 1
            assert number < 20_000, "the disk never became full"
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        assert client.get("/healthz").status_code == 200
        if filler is not None:
            filler.unlink()
    if unbound is not None:
        unbound()
    database.dispose()
    with TestClient(create_app(settings)) as client:
        call = caller(client, key)
        assert call("/v1/feedback", json=event).json()["sequence"] == len(accepted) + 1
    with database.session() as session:
        assert session.execute(sa.text("pragma integrity_check")).scalar_one() == "ok"
        stored = session.execute(sa.select(FeedbackRow.event_id).order_by(FeedbackRow.sequence)).scalars().all()
    assert list(stored) == [*accepted, event["event_id"]]
    assert deployment.user(user).feedback_sequence == len(stored)
    database.dispose()


def test_full_storage_refuses_an_upload_and_keeps_no_row_of_it(
    database: Database, settings: Settings, small_disk: Path
) -> None:
    settings = settings.model_copy(update={"storage_url": small_disk.as_uri()})
    Deployment(database, settings, num_images=1)
    with TestClient(create_app(settings)) as client:
        call = caller(client, new_key(database))
        filler = fill(small_disk, leave_bytes=0)
        files = {"file": ("a.jpg", jpeg(size=(900, 700)), "image/jpeg")}
        refused = call("/v1/images", files=files)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable"), refused.text
        with database.read_session() as session:
            assert session.execute(sa.select(sa.func.count()).select_from(ImageRow)).scalar_one() == 1
        filler.unlink()
        assert call("/v1/images", files=files).status_code == 201


# --- clocks


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch, database: Database) -> Any:
    """Set the clock that leases and due times are measured with, forward or back."""
    real = clock.db_now
    shift = timedelta()

    def set_to(seconds: float) -> None:
        nonlocal shift
        shift = timedelta(seconds=seconds)

    for module in (jobs, scheduling):
        monkeypatch.setattr(module, "db_now", lambda session: real(session) + shift)
    return set_to


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_clock_that_jumps_while_a_job_runs_makes_one_version(deployment: Deployment, jump: Any, jump_s: float) -> None:
    """Forward, every lease has run out at once; back, none runs out for long: either way one effect."""
    user = deployment.add_user()
    deployment.rate(user, range(40))
    scheduling.scan(deployment.database, deployment.settings)
    lease = jobs.claim(deployment.database, worker="slow", queues=["cpu"], lease_s=30)
    assert lease is not None
    jump(jump_s)
    deployment.work()  # another worker, with the new time
    jump(jump_s + 700)  # past every back-off
    deployment.work()
    with suppress(LeaseLost):
        adapt.run(Running(deployment.context, lease))
    deployment.work()  # a scan takes a job back whose lease the jump has put far into the future
    assert [(v.number, v.state) for v in deployment.versions(user)] == [(1, "active")]
    assert len(deployment.runs(user)) == 1
    jump(jump_s + 4000)
    deployment.rate(user, range(40, 80))
    deployment.work()
    assert deployment.user(user).trained_sequence == 80


def test_history_keeps_its_order_when_the_clock_is_set_back(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = deployment.add_user()
    for part in (range(40), range(40, 80)):
        deployment.rate(user, part)
        deployment.work()
    long_ago = iter(UUID(int=number).hex for number in range(1, 100))
    monkeypatch.setattr(ids, "new_hex", lambda: next(long_ago))
    for number in (1, 2, 1):
        with deployment.database.session() as session:
            versions.promote(session, user, number, actor="a", reason="r")
    with deployment.database.read_session() as session:
        acts = [act.details["to"] for act in versions.history(session, user)][::-1]
        assert invariants.consistent_history(session).problems == []
    assert acts == [1, 2, 1, 2, 1]
