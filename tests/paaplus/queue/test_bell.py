"""The bell: a committed job rings, a rolled back one does not, and nobody needs it."""

from __future__ import annotations

import queue
import threading
import time

import pytest

from paaplus.db.engine import Database
from paaplus.db.tables.jobs import JobKind
from paaplus.queue import bell, jobs


@pytest.fixture
def heard(database_url: str):
    """Rings that a listener of queue cpu has heard."""
    rings: queue.Queue[str] = queue.Queue()
    stopping, ready = threading.Event(), threading.Event()

    def listen() -> None:
        ready.set()
        for name in bell.rings(database_url, ["cpu"], stopping):
            rings.put(name)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    ready.wait()
    time.sleep(0.5)  # until it is connected
    yield rings
    stopping.set()
    thread.join(5)
    assert not thread.is_alive()


def enqueue(session, key: str, name: str = "cpu", delay_s: float = 0.0) -> None:
    jobs.enqueue(session, JobKind.EXTRACT_FEATURES, key, queue=name, reason="test", max_attempts=1, delay_s=delay_s)


def test_a_committed_job_rings_for_its_queue_only(database: Database, heard: queue.Queue[str]) -> None:
    with database.session() as session:
        enqueue(session, "a")
        assert heard.empty(), "before the commit a worker would find nothing"
    assert heard.get(timeout=5) == "cpu"
    with database.session() as session:
        enqueue(session, "b", "gpu")
        enqueue(session, "c", delay_s=60)
    with pytest.raises(queue.Empty):
        heard.get(timeout=0.5)


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
