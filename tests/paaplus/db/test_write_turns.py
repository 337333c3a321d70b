"""Threads of one process that write to SQLite wait for each other in the process, and nothing keeps the lock."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database, Waits


@pytest.fixture
def database(tmp_path: Path):
    instance = Database(f"sqlite:///{tmp_path / 'a.db'}", Waits(5, 30, 5))
    with instance.session() as session:
        session.execute(sa.text("create table t (i integer)"))
    yield instance
    instance.dispose()


def count(database: Database) -> int:
    with database.read_session() as session:
        return int(session.execute(sa.text("select count(*) from t")).scalar_one())


def write(database: Database) -> None:
    with database.session() as session:
        session.execute(sa.text("insert into t values (1)"))


def fail(database: Database) -> None:
    with database.session() as session:
        session.execute(sa.text("insert into t values (1)"))
        raise ZeroDivisionError


def test_second_writer_begins_when_the_first_is_committed_and_readers_do_not_wait(database: Database) -> None:
    begun = threading.Event()

    def second() -> None:
        begun.set()
        write(database)

    thread = threading.Thread(target=second)
    with database.session() as session:
        session.execute(sa.text("insert into t values (1)"))
        thread.start()
        assert begun.wait(60)
        assert count(database) == 0
        thread.join(0.05)
        assert thread.is_alive()
    thread.join(60)
    assert count(database) == 2


def test_lock_is_free_after_a_failure_and_many_threads_lose_nothing(database: Database) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fail(database)
    with pytest.raises(sa.exc.OperationalError), database.session() as session:
        session.execute(sa.text("insert into nowhere values (1)"))
    threads = [threading.Thread(target=lambda: [write(database) for _ in range(10)]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert count(database) == 60
