"""`paaplus.db.engine` and the column types: both databases behave alike."""

import sqlite3
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

from paaplus.db import engine
from paaplus.db.engine import Database, make_engine
from paaplus.db.tables import UserRow
from paaplus.errors import InvalidInput
from tests.support.factories import make_image, make_user

TOKYO = timezone(timedelta(hours=9))


def count_users(database: Database) -> int:
    with database.read_session() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(UserRow)) or 0


@pytest.mark.parametrize("url", ["mysql://nobody@host/db", "postgres://nobody:secret@host/db"])
def test_an_unsupported_url_is_refused_without_showing_the_password(url: str) -> None:
    with pytest.raises(InvalidInput, match="only sqlite and postgresql are supported") as error:
        make_engine(url)
    assert "secret" not in str(error.value)


def test_the_folder_of_a_sqlite_file_is_made(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a' / 'b' / 'paaplus.db'}")
    with database.session() as session:
        session.execute(sa.text("create table t (id integer)"))
    database.dispose()
    assert (tmp_path / "a" / "b" / "paaplus.db").exists()


def test_a_session_commits_at_the_end_of_its_block(database: Database) -> None:
    with database.session() as session:
        make_user(session)
    assert count_users(database) == 1


def test_a_session_rolls_back_when_its_block_raises(database: Database) -> None:
    def write_and_fail() -> None:
        with database.session() as session:
            make_user(session)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert count_users(database) == 0


def test_a_reader_keeps_its_snapshot_while_another_writes_on_sqlite(tmp_path: Path, sqlite_template: Path) -> None:
    path = tmp_path / "paaplus.db"
    path.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{path}")
    count = sa.select(sa.func.count()).select_from(UserRow)
    with database.read_session() as reader:
        assert reader.scalar(count) == 0
        with database.session() as writer:  # would wait for the reader if readers took the write lock
            make_user(writer)
        assert reader.scalar(count) == 0
    assert count_users(database) == 1
    database.dispose()


def count_users_by_connection(database: Database) -> int:
    with database.read_connection() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(UserRow)) or 0


def test_every_read_connection_sees_what_was_committed_before(database: Database) -> None:
    for count in range(3):
        assert count_users_by_connection(database) == count
        with database.session() as session:
            make_user(session, external_id=f"u{count}")


def test_a_read_connection_is_kept_on_sqlite_unless_its_block_raised(database: Database) -> None:
    is_sqlite = database.engine.dialect.name == "sqlite"
    with database.read_connection() as first:
        pass
    assert first.closed is not is_sqlite

    def fail() -> None:
        with database.read_connection() as connection:
            failed.append(connection)
            raise ZeroDivisionError

    failed: list[sa.Connection] = []
    with pytest.raises(ZeroDivisionError):
        fail()
    assert failed[0].closed
    assert (failed[0] is first) is is_sqlite
    with database.read_connection() as last:
        pass
    database.dispose()
    assert last.closed


def test_readers_at_the_same_moment_have_connections_of_their_own(database: Database) -> None:
    with database.read_connection() as one, database.read_connection() as other:
        assert one is not other
        assert one.connection.dbapi_connection is not other.connection.dbapi_connection


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_connection_that_is_gone_is_replaced_unless_it_was_used_a_moment_ago(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backend() -> int:
        with database.session() as session:
            return session.execute(sa.text("select pg_backend_pid()")).scalar_one()

    def end(pid: int) -> None:
        other = make_engine(database_url)
        with other.begin() as connection:
            connection.execute(sa.text("select pg_terminate_backend(:pid, 10000)"), {"pid": pid})
        other.dispose()

    tested: list[object] = []
    right = database.engine.dialect.do_ping
    monkeypatch.setattr(database.engine.dialect, "do_ping", lambda connection: tested.append(1) or right(connection))
    monkeypatch.setattr(engine, "TRUSTED_S", 3600.0)
    first = backend()
    assert backend() == first
    assert not tested
    end(first)
    with pytest.raises(sa.exc.OperationalError) as told:  # the caller may try again
        backend()
    assert told.value.connection_invalidated
    monkeypatch.setattr(engine, "TRUSTED_S", 0.0)
    second = backend()
    end(second)
    assert backend() not in (first, second)
    assert tested


def test_objects_can_be_read_after_their_session(database: Database) -> None:
    with database.session() as session:
        user = make_user(session, external_id="anna")
    assert user.external_id == "anna"


def test_a_reference_to_nothing_is_refused(database: Database) -> None:
    with database.session() as session:
        image = make_image(session)
    with pytest.raises(sa.exc.IntegrityError), database.session() as session:
        make_image(session, owner_id=image.id)  # an image's id is no user's id


def test_times_keep_their_instant_whatever_their_zone(database: Database) -> None:
    moment = datetime(2026, 3, 1, 8, 30, 15, 123456, tzinfo=TOKYO)
    with database.session() as session:
        make_user(session, last_trained_at=moment)
    with database.read_session() as session:
        stored = session.scalars(sa.select(UserRow)).one().last_trained_at
    assert stored == moment
    assert stored is not None
    assert stored.tzinfo is UTC
    assert (stored.day, stored.hour) == (28, 23)


def test_times_compare_by_instant_not_by_their_text(database: Database) -> None:
    """08:30 in Tokyo is before 00:00 UTC of the same day, although it reads later."""
    with database.session() as session:
        make_user(session, last_trained_at=datetime(2026, 3, 1, 8, 30, tzinfo=TOKYO))
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    with database.read_session() as session:
        assert session.scalars(sa.select(UserRow).where(UserRow.last_trained_at < midnight)).all()
        assert not session.scalars(sa.select(UserRow).where(UserRow.last_trained_at >= midnight)).all()


def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(sa.exc.StatementError, match="naive datetime"), database.session() as session:
        make_user(session, last_trained_at=datetime(2026, 3, 1))
    assert count_users(database) == 0


def test_bytes_and_json_come_back_as_they_were(database: Database) -> None:
    policy = {"text": "味", "list": [1, 2.5, None, {"deep": True}]}
    with database.session() as session:
        make_user(session, policy=policy)
    with database.read_session() as session:
        assert session.scalars(sa.select(UserRow)).one().policy == policy


def test_concurrent_writers_all_succeed_and_lose_no_update(database_url: str) -> None:
    """Each transaction reads before it writes: what SQLite refuses at once if the read did not take the lock."""
    database = Database(database_url)
    with database.session() as session:
        make_user(session)
    num_writers, times = 4, 25
    barrier = threading.Barrier(num_writers)
    failures: list[BaseException] = []

    def write() -> None:
        own = Database(database_url)
        barrier.wait()
        try:
            for _ in range(times):
                with own.session() as session:
                    user = session.scalars(sa.select(UserRow).with_for_update()).one()
                    user.feedback_sequence += 1
        except BaseException as error:
            failures.append(error)
        finally:
            own.dispose()

    writers = [threading.Thread(target=write) for _ in range(num_writers)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert failures == []
    with database.read_session() as session:
        assert session.scalars(sa.select(UserRow)).one().feedback_sequence == num_writers * times
    database.dispose()


def test_a_write_lock_is_looked_for_at_short_pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own pauses grow to a tenth of a second, which single postings would wait beside a busy worker."""
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    with database.session() as session:
        session.execute(sa.text("CREATE TABLE numbers (n INTEGER)"))
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 40:
            other.execute("COMMIT")

    monkeypatch.setattr("paaplus.db.engine.time.sleep", pause)
    with database.session() as session:
        session.execute(sa.text("INSERT INTO numbers VALUES (1)"))
        assert session.execute(sa.text("PRAGMA busy_timeout")).scalar_one() == engine.SQLITE_BUSY_TIMEOUT_MS
    other.close()
    database.dispose()
    assert len(pauses) == 40
    assert max(pauses) < 0.01


def test_a_write_lock_that_is_never_free_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SQLITE_BUSY_TIMEOUT_MS", 20)
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sa.exc.OperationalError, match="locked"), database.session() as session:
        session.connection()
    other.execute("ROLLBACK")
    with database.session() as session:  # the connection is as good as before
        session.execute(sa.text("CREATE TABLE numbers (n INTEGER)"))
    other.close()
    database.dispose()
