"""The bell: a committed job rings, a rolled back one does not, and nobody needs it."""

from __future__ import annotations

import queue
import threading

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables.jobs import JobKind
from paaplus.queue import bell, jobs
from tests.support.processes import wait_until


@pytest.fixture
def heard(database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch):
    """Rings that a listener of queue cpu has heard; it listens already."""
    rings: queue.Queue[str] = queue.Queue()
    stopping = threading.Event()
    looks: list[int] = []
    real = bell._time_of
    monkeypatch.setattr(bell, "_time_of", lambda file: looks.append(real(file)) or looks[-1])

    def listen() -> None:
        for name in bell.rings(database_url, ["cpu"], stopping):
            rings.put(name)

    def is_listening() -> bool:
        if database.engine.dialect.name == "sqlite":
            return bool(looks)  # at the file, to compare with what is found later: the folder is watched already
        listening = "select 1 from pg_stat_activity where datname = current_database() and query ilike 'listen %'"
        with database.read_session() as session:
            return session.execute(sa.text(f"{listening} and state = 'idle'")).first() is not None

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    wait_until("it listens", is_listening)
    yield rings
    stopping.set()
    thread.join(60)
    assert not thread.is_alive()


def enqueue(session, key: str, name: str = "cpu", delay_s: float = 0.0) -> None:
    jobs.enqueue(session, JobKind.EXTRACT_FEATURES, key, queue=name, reason="test", max_attempts=1, delay_s=delay_s)


def test_a_committed_job_rings_for_its_queue_only(database: Database, heard: queue.Queue[str]) -> None:
    with database.session() as session:
        enqueue(session, "a")
        assert heard.empty(), "before the commit a worker would find nothing"
    assert heard.get(timeout=60) == "cpu"
    with database.session() as session:
        enqueue(session, "b", "gpu")
        enqueue(session, "c", delay_s=60)
    with pytest.raises(queue.Empty):
        heard.get(timeout=0.5)


def test_a_ring_right_after_another_is_heard_too(database: Database, heard: queue.Queue[str]) -> None:
    for key in "abc":
        with database.session() as session:
            enqueue(session, key)
        assert heard.get(timeout=60) == "cpu"


def test_a_job_that_is_rolled_back_does_not_ring(database: Database, heard: queue.Queue[str]) -> None:
    with database.session() as session:
        enqueue(session, "a")
        session.rollback()
    with pytest.raises(queue.Empty):
        heard.get(timeout=0.5)


def test_a_bell_that_cannot_be_rung_does_not_fail_the_transaction(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell.Path, "touch", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
    with database.session() as session:
        enqueue(session, "a")
    with database.read_session() as session:
        assert len(jobs.list_jobs(session)) == 1
