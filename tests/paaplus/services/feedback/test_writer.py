"""The writer of feedback: postings that come together are appended together, and fail alone."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from paaplus import pauses
from paaplus.db.engine import Database
from paaplus.db.locks import lock_user
from paaplus.db.tables import FeedbackRow, ImageRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.tables.governance import KeyScope
from paaplus.errors import Unavailable
from paaplus.services.feedback import intake, writer
from paaplus.services.feedback.intake import NewEvent
from paaplus.services.feedback.writer import FeedbackWriter, Posted
from paaplus.services.users.keys import OPERATOR, Principal
from paaplus.settings import Settings
from tests.support.factories import APPLICATION, make_image, make_user

KEY = Principal("app", KeyScope.APPLICATION, application=APPLICATION)


def event(index: int, user_id: UUID, *, event_id: str, image_id: UUID) -> NewEvent:
    payload = {"ratings": {"beauty": 5}, "scale": {"min": 1, "max": 7}}
    return NewEvent(index, user_id, event_id, FeedbackKind.RATING, payload, image_id=image_id)


def posted(user: str, event_id: str, image_id: UUID, index: int = 0) -> Posted:
    return Posted(index, event_id, user, partial(event, index, event_id=event_id, image_id=image_id))


@pytest.fixture
def image_id(database: Database) -> UUID:
    with database.session() as session:
        for name in ("anna", "ben"):
            make_user(session, external_id=name)
        return make_image(session).id


@pytest.fixture
def feedback(database: Database, settings: Settings):
    instance = FeedbackWriter(database, settings)
    yield instance
    instance.close()


def log(database: Database) -> list[tuple[str, int]]:
    with database.read_session() as session:
        rows = session.execute(sa.select(FeedbackRow.event_id, FeedbackRow.sequence).order_by(FeedbackRow.id))
        return [tuple(row) for row in rows]


class Held:
    """A writer that appends the first posting when it is let go; what is posted until then is its next group."""

    def __init__(self, database: Database, settings: Settings, image_id: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
        right, began, self.go_on = intake.append_prepared, threading.Event(), threading.Event()

        def waits(*arguments, **options):
            began.set()
            assert self.go_on.wait(60)
            return right(*arguments, **options)

        monkeypatch.setattr(writer.intake, "append_prepared", waits)
        self.feedback = FeedbackWriter(database, settings)
        self.first = self.feedback.submit(KEY, [posted("anna", "first", image_id)])
        assert began.wait(60)

    def finish(self) -> None:
        self.go_on.set()
        self.feedback.close()


def test_many_threads_at_once_leave_no_gap_and_lose_nothing(
    database: Database, feedback: FeedbackWriter, image_id: UUID
) -> None:
    def post(thread: int) -> None:
        for n in range(20):
            [result] = feedback.submit(KEY, [posted("anna", f"t{thread}-{n}", image_id)]).result(30)
            assert result.status == "accepted"

    threads = [threading.Thread(target=post, args=(t,)) for t in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sequence for _, sequence in log(database)) == list(range(1, 121))


def test_image_that_goes_after_the_check_rejects_its_event_and_no_other(
    database: Database, feedback: FeedbackWriter, image_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.session() as session:
        other = make_image(session).id
    checked = writer._prepare

    def prepare(connection: sa.Connection, postings: Sequence[tuple[Principal, Sequence[Posted]]]) -> object:
        prepared = checked(connection, postings)
        monkeypatch.undo()
        with database.session() as elsewhere:
            elsewhere.execute(sa.delete(ImageRow).where(ImageRow.id == other))
        return prepared

    monkeypatch.setattr(writer, "_prepare", prepare)
    events = [posted("anna", f"e{n}", image_id, n) for n in range(writer.LARGE + 1)]
    results = feedback.submit(KEY, [posted("anna", "gone", other, 99), *events]).result(30)
    assert [result.event_id for result in results if result.status == "rejected"] == ["gone"]
    assert len(log(database)) == len(events)


def test_an_event_that_is_posted_twice_at_once_is_stored_once(
    database: Database, feedback: FeedbackWriter, image_id: UUID
) -> None:
    results = [feedback.submit(KEY, [posted("anna", "e", image_id)]) for _ in range(5)]
    assert sorted(r.result(30)[0].status for r in results) == ["accepted", *["duplicate"] * 4]
    assert log(database) == [("e", 1)]


def test_a_large_posting_and_an_unknown_user(database: Database, feedback: FeedbackWriter, image_id: UUID) -> None:
    events = [posted("ghost" if n == 7 else "anna", f"e{n}", image_id, n) for n in range(300)]
    by_index = {result.index: result for result in feedback.submit(KEY, events).result(30)}
    assert by_index[7].status == "rejected"
    assert sum(result.status == "accepted" for result in by_index.values()) == 299


class Busy:
    """Surroundings in which others are active."""

    def __init__(self) -> None:
        self.num_pauses = 0

    def pause(self) -> None:
        self.num_pauses += 1

    def others_are_active(self) -> bool:
        return True


@pytest.mark.parametrize("is_alone", [True, False])
def test_a_large_posting_is_written_in_small_parts_while_others_are_active(
    database: Database, feedback: FeedbackWriter, image_id: UUID, monkeypatch: pytest.MonkeyPatch, is_alone: bool
) -> None:
    sizes: list[int] = []
    append = intake.append_prepared

    def counted(session, prepared, **options):
        sizes.append(len(prepared))
        return append(session, prepared, **options)

    monkeypatch.setattr(intake, "append_prepared", counted)
    busy, context = Busy(), contextvars.copy_context()
    if not is_alone:
        context.run(pauses.use, busy)
    events = [posted("anna", f"e{n}", image_id, n) for n in range(600)]
    results = context.run(feedback.submit, KEY, events).result(30)
    assert {result.status for result in results} == {"accepted"}
    assert [event_id for event_id, _ in log(database)] == [f"e{n}" for n in range(600)]
    if is_alone:
        assert len(sizes) <= 5, "each transaction waits for the disk"
    else:
        assert sizes == [16] * 37 + [8]
        assert busy.num_pauses >= 38


def test_on_a_slow_machine_parts_are_smaller(
    database: Database, feedback: FeedbackWriter, image_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else can write while a part is written."""
    sizes: list[int] = []
    append = intake.append_prepared

    def slow(session, prepared, **options):
        sizes.append(len(prepared))
        time.sleep(0.001 * len(prepared))
        return append(session, prepared, **options)

    monkeypatch.setattr(intake, "append_prepared", slow)
    for turn in range(2):
        events = [posted("anna", f"{turn}-{n}", image_id, n) for n in range(500)]
        assert {result.status for result in feedback.submit(KEY, events).result(60)} == {"accepted"}
    least, _ = writer.ALONE
    assert sizes[0] > least, "nothing was measured before"
    assert sizes[-4:] == [least, least, least, 500 - 3 * least]
    monkeypatch.undo()
    feedback.submit(KEY, [posted("anna", f"warm-{n}", image_id, n) for n in range(200)]).result(60)
    assert feedback._size_alone() > least, "it is not slow any more"


def test_a_posting_that_fails_does_not_fail_the_others(
    database: Database, feedback: FeedbackWriter, image_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = intake.append_prepared

    def fails_for_ben(session, prepared, **options):
        if any(item.event.event_id == "bad" for item in prepared):
            raise ZeroDivisionError
        return right(session, prepared, **options)

    monkeypatch.setattr(writer.intake, "append_prepared", fails_for_ben)
    results = {
        name: feedback.submit(KEY, [posted("ben" if name == "bad" else "anna", name, image_id)])
        for name in ("a", "bad", "b")
    }
    with pytest.raises(ZeroDivisionError):
        results["bad"].result(30)
    assert [results[name].result(30)[0].status for name in ("a", "b")] == ["accepted"] * 2
    assert sorted(name for name, _ in log(database)) == ["a", "b"]


def test_what_waits_is_written_before_the_end_and_too_much_is_refused(
    database: Database, settings: Settings, image_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING", 3)
    held = Held(database, settings, image_id, monkeypatch)
    feedback, results = held.feedback, [held.first]
    results += [feedback.submit(KEY, [posted("anna", f"e{n}", image_id)]) for n in range(3)]
    with pytest.raises(Unavailable):
        feedback.submit(KEY, [posted("anna", "too many", image_id)])
    held.finish()
    assert [result.result(0)[0].sequence for result in results] == [1, 2, 3, 4]


def test_postings_of_several_callers_in_one_transaction_are_answered_each_for_itself(
    database: Database, settings: Settings, image_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.session() as session:
        ben = session.execute(sa.select(UserRow).where(UserRow.external_id == "ben")).scalar_one()
    of_ben = Principal("ben", KeyScope.USER, application=APPLICATION, user_id=ben.id)
    elsewhere = Principal("other", KeyScope.APPLICATION, application="elsewhere")
    held = Held(database, settings, image_id, monkeypatch)
    postings = [
        (KEY, "anna", "a", "accepted"),
        (of_ben, "anna", "b", "rejected"),  # whom this key may not see
        (KEY, "ghost", "c", "rejected"),
        (of_ben, "ben", "d", "accepted"),
        (elsewhere, "anna", "e", "rejected"),
        (KEY, "anna", "a", "duplicate"),
        (OPERATOR, f"{APPLICATION}/ben", "f", "accepted"),
        (KEY, str(ben.id), "g", "accepted"),
    ]
    results = [held.feedback.submit(key, [posted(user, name, image_id)]) for key, user, name, _ in postings]
    held.finish()
    assert [result.result(0)[0].status for result in results] == [status for *_, status in postings]
    with database.read_session() as session:
        sources = dict(session.execute(sa.select(FeedbackRow.event_id, FeedbackRow.source)).all())
    assert sources == {"first": KEY.actor, "a": KEY.actor, "d": of_ben.actor, "f": OPERATOR.actor, "g": KEY.actor}


@pytest.mark.parametrize("num_postings", [2, 40])
def test_postings_that_wait_together_cost_as_many_statements_as_two(
    database: Database, settings: Settings, image_id: UUID, monkeypatch: pytest.MonkeyPatch, num_postings: int
) -> None:
    held = Held(database, settings, image_id, monkeypatch)
    results = [held.feedback.submit(KEY, [posted("anna", f"e{n}", image_id)]) for n in range(num_postings)]
    statements: list[str] = []
    held.first.add_done_callback(
        lambda _: sa.event.listen(database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    )
    held.finish()
    assert [result.result(0)[0].sequence for result in results] == list(range(2, num_postings + 2))
    assert len(statements) <= 14


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_event_takes_nine_ways_to_the_server_and_back(
    database: Database, settings: Settings, image_id: UUID, tmp_path: Path
) -> None:
    feedback = FeedbackWriter(database, settings)
    for number in range(8):  # then the driver has prepared the statements
        feedback.submit(KEY, [posted("anna", f"e{number}", image_id)]).result(60)
    with (tmp_path / "trace").open("w+") as file:
        sa.event.listen(database.engine, "checkout", lambda connection, *_: connection.pgconn.trace(file.fileno()))
        assert feedback.submit(KEY, [posted("anna", "last", image_id)]).result(60)[0].sequence == 9
        feedback.close()
        database.engine.dispose()  # ends the trace
        file.seek(0)
        ways = [line for line in file if "ReadyForQuery" in line]
    # begin, users, images, aspects, lock, known events, insert, counters, commit
    assert len(ways) == 9


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The events of each transaction that the writer tries without waiting for locks."""
    found: list[list[str]] = []
    right = FeedbackWriter._write

    def write(self: FeedbackWriter, group: list[writer._Posting], *, wait: bool) -> list[writer._Posting]:
        if not wait:
            found.append([each.event_id for posting in group for each in posting.posted])
        return right(self, group, wait=wait)

    monkeypatch.setattr(FeedbackWriter, "_write", write)
    return found


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_postings_to_a_locked_user_are_tried_once_and_then_wait_apart(
    database: Database, settings: Settings, image_id: UUID, tries: list[list[str]]
) -> None:
    feedback = FeedbackWriter(database, settings)
    with database.session() as locking:
        anna = locking.execute(sa.select(UserRow.id).where(UserRow.external_id == "anna")).scalar_one()
        lock_user(locking, anna)
        waiting = [feedback.submit(KEY, [posted("anna", "a0", image_id)])]
        assert feedback.submit(KEY, [posted("ben", "b0", image_id)]).result(60)
        tries.clear()
        waiting += [feedback.submit(KEY, [posted("anna", f"a{n}", image_id)]) for n in range(1, 5)]
        assert feedback.submit(KEY, [posted("ben", "b1", image_id)]).result(60)
        assert [event_id for group in tries for event_id in group] == ["b1"]
        assert not any(each.done() for each in waiting)
    results = [result for each in waiting for result in each.result(60)]
    assert [result.status for result in results] == ["accepted"] * 5
    assert sorted(result.sequence for result in results if result.sequence is not None) == [1, 2, 3, 4, 5]
    feedback.close()
    assert not feedback._locked
    late = FeedbackWriter(database, settings)
    assert late.submit(KEY, [posted("anna", "a9", image_id)]).result(60)[0].sequence == 6
    late.close()
    assert tries[-1] == ["a9"]


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_others_of_a_transaction_are_written_together_without_the_locked_user(
    database: Database, settings: Settings, image_id: UUID, tries: list[list[str]]
) -> None:
    feedback = FeedbackWriter(database, settings)
    wanted = [("anna", "a0"), ("ben", "b0"), ("ben", "b1")]
    group = [writer._Posting(KEY, [posted(user, event_id, image_id)], None) for user, event_id in wanted]
    with database.session() as locking:
        lock_user(locking, locking.execute(sa.select(UserRow.id).where(UserRow.external_id == "anna")).scalar_one())
        feedback._write_at_once(list(group))
        assert [posting.result.done() for posting in group] == [False, True, True]
    assert tries == [["a0", "b0", "b1"], ["b0", "b1"]]
    assert [posting.result.result(60)[0].status for posting in group] == ["accepted"] * 3
    feedback.close()
