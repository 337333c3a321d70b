"""Messages that nobody takes do not pile up, and a broker that is away hangs nothing; on both brokers."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from paaplus.db.engine import Database
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.queue import jobs
from paaplus.settings import Settings
from paaplus.workers import app, broker
from tests.support.processes import environment, running, start_scheduler, start_worker, wait_until


@pytest.fixture
def settings(database_kind: str, database_url: str, request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    broker_url = ""
    if database_kind == "postgresql":
        broker_url = request.getfixturevalue("redis_server").url
        redis.Redis.from_url(broker_url).flushall()
    return Settings(
        home=tmp_path / "home", database_url=database_url, broker_url=broker_url, scan_interval_s=0.1, device="cpu"
    )


def num_messages(settings: Settings, queue: str) -> int:
    """Counted without Celery: the length of the Redis list, the files in the folder."""
    if settings.broker_url:
        return int(redis.Redis.from_url(settings.broker_url).llen(queue))
    return len(list((settings.broker_folder / "messages").glob(f"*.{queue}.msg")))


def test_wake_ups_do_not_pile_up_when_no_worker_takes_them(database: Database, settings: Settings) -> None:
    with database.session() as session:
        for i in range(2):
            jobs.enqueue(session, JobKind.ADAPT, f"test:{i}", queue="gpu", reason="test", max_attempts=1)
    with running(start_worker(settings), start_scheduler(settings)):
        wait_until("a scan has rung the bell", lambda: num_messages(settings, "gpu") == 2)
        time.sleep(2.0)  # many scans more
        assert num_messages(settings, "gpu") == 2


def test_scheduler_scans_by_itself_without_a_worker_and_sends_no_messages_for_it(
    database: Database, settings: Settings
) -> None:
    """No training can make a scan wait: workers are not asked for it."""
    with database.session() as session:
        job = jobs.enqueue(session, JobKind.ADAPT, "test:1", queue="cpu", reason="test", max_attempts=3)
    assert jobs.claim(database, worker="gone", queues=["cpu"], lease_s=0.01) is not None
    with running(start_scheduler(settings)):
        wait_until("a scan has taken the job back", lambda: state_of(database, job) == JobState.QUEUED)
        wait_until("and has woken a worker up", lambda: num_messages(settings, "cpu") == 1)
        time.sleep(1.0)  # many scans more
        assert num_messages(settings, "cpu") == 1


def state_of(database: Database, job_id: object) -> JobState:
    with database.read_session() as session:
        return jobs.get(session, job_id).state


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_broker_that_is_away_is_told_soon(settings: Settings) -> None:
    away = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    program = "from paaplus.workers import app, broker; print(broker.num_waiting(app.app, 'cpu'))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(away), capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines()[-1] == "None"


CLOCK = """
import datetime, time, types
import celery.app.base, celery.beat, celery.schedules
from paaplus.workers import app, broker, scan

real, moved = time.time, [0.0]
time.time = lambda: real() + moved[0]
now = lambda *_: datetime.datetime.fromtimestamp(time.time(), datetime.UTC)
celery.schedules.schedule.now = now
app.app.now = now
runs = []
scan.scan_now = lambda app: runs.append(time.monotonic())
scheduler = broker.BoundedScheduler(app.app, schedule_filename=app.app.conf.beat_schedule_filename)

def tick_for(seconds):
    runs.clear()
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        time.sleep(min(0.02, max(0.0, scheduler.tick())))
    return len(runs)

counts = [tick_for(1.5)]
moved[0] = -3600.0
counts.append(tick_for(1.5))
scheduler.sync()
scheduler.close()
moved[0] = -7200.0
scheduler = broker.BoundedScheduler(app.app, schedule_filename=app.app.conf.beat_schedule_filename)
print(*counts, tick_for(1.5))
"""


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_scans_go_on_when_the_clock_is_set_back(settings: Settings) -> None:
    """While the scheduler runs, and while it was down: it keeps the time of its last run in a file."""
    done = subprocess.run(
        [sys.executable, "-c", CLOCK],
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    before, after, restarted = map(int, done.stdout.splitlines()[-1].split())
    assert before > 3
    assert after > 3
    assert restarted > 3
    assert "clock was set back" in done.stdout


EVERY_ENTRY = """
from paaplus.workers import app, broker
broker.num_waiting = lambda *_: 0
sent = []
broker.PersistentScheduler.apply_entry = lambda self, entry, producer=None: sent.append(entry.task)
scheduler = broker.BoundedScheduler(app.app, schedule_filename=app.app.conf.beat_schedule_filename)
print(sorted(entry.task for entry in scheduler.schedule.values()))
scheduler.apply_entry(scheduler.Entry(task="celery.backend_cleanup", schedule=1.0, app=app.app))
print(sent)
"""


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_scheduler_survives_entries_that_celery_adds(settings: Settings) -> None:
    """Celery adds a task at 04:00 that deletes old results; it names no queue."""
    done = subprocess.run(
        [sys.executable, "-c", EVERY_ENTRY],
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-2:] == ["['paaplus.maintain']", "['celery.backend_cleanup']"]


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_signal_while_the_schedule_is_written_ends_the_scheduler_without_a_traceback(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = broker.BoundedScheduler(
        app.make_app(settings), schedule_filename=str(settings.broker_folder / "beat-schedule")
    )
    assert scheduler.schedule, "the store holds what is still to be written"
    write = scheduler._store.sync

    def interrupted() -> None:  # as by SIGTERM, whose handler closes the scheduler and raises
        monkeypatch.setattr(scheduler._store, "sync", write)
        scheduler.close()
        scheduler._store.cache["entries"] = {}  # what the interrupted write had not reached
        raise SystemExit

    monkeypatch.setattr(scheduler._store, "sync", interrupted)
    with pytest.raises(SystemExit):
        scheduler.sync()
    try:
        scheduler.close()  # as Celery does at its end
    finally:
        scheduler._store.cache = {}  # or its finalizer writes them
