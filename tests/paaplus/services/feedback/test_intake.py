"""Appending events: at most once, in order, invalid ones rejected one by one, and none lost."""

from __future__ import annotations

import hashlib
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.feedback_types import unpacked
from paaplus.db.tables import FeedbackRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.tables.users import DueReason
from paaplus.db.users import locked_user
from paaplus.errors import Conflict, NotFound
from paaplus.ids import new_id
from paaplus.queue import jobs
from paaplus.services import scheduling
from paaplus.services.feedback import intake
from paaplus.services.feedback.intake import AppendResult, NewEvent
from paaplus.settings import Settings
from tests.support.factories import APPLICATION, make_base_model, make_image, make_receipt, make_user

SCALE = {"min": 1, "max": 7}


class World:
    """One user and some images of one application."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database, self.settings = database, settings
        with database.session() as session:
            self.user = make_user(session, policy={"min_new_feedback": 3}).id
            self.images = [make_image(session).id for _ in range(5)]
            self.foreign_image = make_image(session, application="elsewhere").id
            base = make_base_model(session)
            self.receipt = make_receipt(session, user_id=self.user, image_id=self.images[4], base_model_id=base.id).id

    def rating(self, event_id: str, image: int = 0, value: float = 5, **changes: object) -> NewEvent:
        event = NewEvent(
            index=0,
            user_id=self.user,
            event_id=event_id,
            kind=FeedbackKind.RATING,
            image_id=self.images[image],
            payload={"ratings": {"beauty": value}, "scale": SCALE},
        )
        return replace(event, **changes)

    def append(self, *events: NewEvent, application: str | None = APPLICATION) -> list[AppendResult]:
        numbered = [replace(event, index=i) for i, event in enumerate(events)]
        with self.database.session() as session:
            return intake.append(session, application, numbered, source="test", settings=self.settings)

    def log(self) -> list[FeedbackRow]:
        with self.database.read_session() as session:
            query = sa.select(FeedbackRow).where(FeedbackRow.user_id == self.user).order_by(FeedbackRow.sequence)
            return list(session.execute(query).scalars())

    def user_row(self) -> UserRow:
        with self.database.read_session() as session:
            return session.get(UserRow, self.user)


@pytest.fixture
def world(database: Database, settings: Settings) -> World:
    return World(database, settings)


def test_append_numbers_events_without_gaps(world: World) -> None:
    results = world.append(world.rating("a"), world.rating("b", 1))
    assert [(r.status, r.sequence) for r in results] == [("accepted", 1), ("accepted", 2)]
    assert world.append(world.rating("c", 2))[0].sequence == 3
    assert [row.sequence for row in world.log()] == [1, 2, 3]


def test_append_twice_changes_nothing_and_returns_the_first_sequence(world: World) -> None:
    world.append(world.rating("a"), world.rating("b", 1))
    before = [(r.id, r.sequence) for r in world.log()]
    again = world.append(world.rating("b", 1), world.rating("a"), world.rating("a"))
    assert [(r.status, r.sequence) for r in again] == [("duplicate", 2), ("duplicate", 1), ("duplicate", 1)]
    assert [(r.id, r.sequence) for r in world.log()] == before


def test_append_of_another_event_under_a_used_id_is_refused(world: World) -> None:
    world.append(world.rating("a", value=5))
    result = world.append(world.rating("a", value=6))[0]
    assert result.status == "rejected"
    assert isinstance(result.error, Conflict)
    assert len(world.log()) == 1


@pytest.mark.parametrize("num_keys", [1, 2])
def test_events_with_the_same_key_are_told_apart(world: World, monkeypatch: pytest.MonkeyPatch, num_keys: int) -> None:
    """Of 2**64 keys two may be equal, of two they are soon. An equal key neither hides an event nor adds one."""
    monkeypatch.setattr(intake, "event_key", lambda user, event_id: len(event_id) % num_keys)
    with world.database.session() as session:
        other = make_user(session).id
    theirs = world.rating("b", user_id=other)
    first = world.append(world.rating("a"), world.rating("bb"), theirs)
    assert [(r.status, r.sequence) for r in first] == [("accepted", 1), ("accepted", 2), ("accepted", 1)]
    assert [r.status for r in world.append(world.rating("b"), world.rating("dd"))] == ["accepted"] * 2
    for event in (world.rating("a"), world.rating("bb"), theirs, world.rating("b"), world.rating("dd")):
        assert [r.status for r in world.append(event, event)] == ["duplicate"] * 2
        assert isinstance(world.append(replace(event, payload={}))[0].error, Conflict)
    undone = [
        world.rating(f"x{n}", kind=FeedbackKind.RETRACTION, image_id=None, payload={}, retracts_event_id=name)
        for n, name in enumerate(("a", "bb", "b"))
    ]
    assert [r.status for r in world.append(*undone, *undone)] == ["accepted"] * 3 + ["duplicate"] * 3
    assert [row.retracts_sequence for row in world.log()][-3:] == [1, 2, 3]
    assert sum(row.event_key is not None for row in world.log()) <= num_keys
    with world.database.session() as session:  # whose key is free again when the event that has it is gone
        session.execute(sa.delete(FeedbackRow).where(FeedbackRow.event_key.is_not(None)))
        known = session.execute(sa.select(FeedbackRow.event_id).where(FeedbackRow.user_id == world.user)).scalars()
        assert "b" in set(known)
    assert world.append(world.rating("b"))[0].status == "duplicate"


def test_append_any_splitting_and_repetition_gives_the_same_log(world: World) -> None:
    events = [world.rating(f"e{i}", i % 5, 1 + i % 7) for i in range(12)]
    shuffle = random.Random(0)
    position = 0
    while position < len(events):
        size = shuffle.randint(1, 4)
        world.append(*events[position : position + size])
        world.append(*shuffle.choices(events[: position + size], k=2))  # late retries
        position += size
    assert [row.event_id for row in world.log()] == [e.event_id for e in events]


def test_append_keeps_the_good_and_refuses_the_bad(world: World) -> None:
    bad = [
        world.rating("outside", value=8),
        world.rating("nan", value=float("nan")),
        world.rating("true", value=True),
        world.rating("no-image", image_id=new_id()),
        world.rating("foreign", image_id=world.foreign_image),
        world.rating("no-user", user_id=new_id()),
        world.rating("aspect", payload={"ratings": {"charm": 3}, "scale": SCALE}),
        world.rating("empty", payload={"ratings": {}, "scale": SCALE}),
        world.rating("scale", payload={"ratings": {"beauty": 3}, "scale": {"min": 7, "max": 1}}),
        world.rating("no-scale", payload={"ratings": {"beauty": 3}}),
        world.rating("receipt", kind=FeedbackKind.CORRECTION, receipt_id=new_id()),
        world.rating("retract", kind=FeedbackKind.RETRACTION, image_id=None, retracts_event_id="never", payload={}),
        world.rating("same", kind=FeedbackKind.COMPARISON, other_image_id=world.images[0],
                     payload={"preference": {"beauty": "first"}}),
        world.rating("prefer", kind=FeedbackKind.COMPARISON, other_image_id=world.images[1],
                     payload={"preference": {"beauty": "both"}}),
        world.rating("like", kind=FeedbackKind.BINARY, payload={"liked": 1}),
    ]  # fmt: skip
    results = world.append(world.rating("first"), *bad, world.rating("last", 1))
    assert [r.status for r in results] == ["accepted", *["rejected"] * len(bad), "accepted"]
    assert all(str(r.error) for r in results[1:-1])
    assert [row.event_id for row in world.log()] == ["first", "last"]


def test_append_stores_every_kind(world: World) -> None:
    results = world.append(
        world.rating("rating"),
        world.rating("correction", kind=FeedbackKind.CORRECTION, image_id=None, receipt_id=world.receipt),
        world.rating("pair", kind=FeedbackKind.COMPARISON, other_image_id=world.images[1],
                     payload={"preference": {"beauty": "tie"}}),
        world.rating("like", kind=FeedbackKind.BINARY, payload={"liked": True}),
        world.rating("back", kind=FeedbackKind.RETRACTION, image_id=None, retracts_event_id="rating", payload={}),
    )  # fmt: skip
    assert [r.status for r in results] == ["accepted"] * 5
    log = {row.event_id: row for row in world.log()}
    assert log["correction"].image_id == world.images[4]
    assert log["back"].retracts_sequence == log["rating"].sequence


def test_append_for_a_user_of_another_application_is_not_found(world: World) -> None:
    result = world.append(world.rating("a"), application="elsewhere")[0]
    assert result.status == "rejected"
    assert isinstance(result.error, NotFound)


def test_what_belongs_to_another_user_of_the_application_does_not_exist_for_this_one(world: World) -> None:
    with world.database.session() as session:
        other = make_user(session, external_id="other").id
        private = make_image(session, owner_id=other).id
        base = make_base_model(session)
        receipt = make_receipt(session, user_id=other, image_id=world.images[0], base_model_id=base.id).id
    correction = {"kind": FeedbackKind.CORRECTION, "image_id": None, "receipt_id": receipt}
    compared = {"kind": FeedbackKind.COMPARISON, "payload": {"preference": {"beauty": "first"}}}
    results = world.append(
        world.rating("image", image_id=private),
        world.rating("pair", other_image_id=private, **compared),
        world.rating("receipt", **correction),
    )
    assert [result.status for result in results] == ["rejected"] * 3
    assert all(isinstance(result.error, NotFound) for result in results)
    assert world.log() == []


def test_append_makes_the_user_due_when_there_is_enough(world: World) -> None:
    world.append(world.rating("a"))
    assert world.user_row().due_reason == "interval"
    world.append(world.rating("b", 1), world.rating("c", 2))
    with world.database.read_session() as session:
        assert [(job.user_id, job.reason) for job in jobs.list_jobs(session)] == [(world.user, "new_feedback")]
    assert world.user_row().next_due_at is None, "the job is there already"


def test_due_time_that_was_written_while_a_posting_waited_is_what_it_reads(world: World) -> None:
    """The posting waits for the user's lock. What made the user due meanwhile is the reason of the job."""
    with ThreadPoolExecutor(1) as thread:
        with world.database.session() as session:
            user = locked_user(session, world.user)
            posting = thread.submit(world.append, world.rating("a"))
            time.sleep(0.2)
            assert not posting.done()
            scheduling.due_for(session, user, DueReason.NEW_PRIOR)
        assert [result.status for result in posting.result()] == ["accepted"]
    with world.database.read_session() as session:
        assert [(job.user_id, job.reason) for job in jobs.list_jobs(session)] == [(world.user, "new_prior")]
    assert (world.user_row().next_due_at, world.user_row().due_reason) == (None, None)


def test_reason_that_a_pause_keeps_is_kept_by_a_posting(world: World) -> None:
    with world.database.session() as session:
        user = locked_user(session, world.user)
        user.policy = {"paused": True}
        session.flush()
        scheduling.due_for(session, user, DueReason.NEW_PRIOR)
        assert (user.next_due_at, user.due_reason) == (None, "new_prior"), "the loaded row is told"
    world.append(world.rating("a"), world.rating("b", 1), world.rating("c", 2))
    row = world.user_row()
    assert (row.next_due_at, row.due_reason, row.pending_count) == (None, "new_prior", 3)


def test_append_by_many_writers_at_once_leaves_no_gap(world: World) -> None:
    import threading

    def write(writer: int) -> None:
        for i in range(8):
            world.append(world.rating(f"w{writer}-{i}", i % 5))

    threads = [threading.Thread(target=write, args=(w,)) for w in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row.sequence for row in world.log()] == list(range(1, 25))
    assert isinstance(world.user, UUID)


def texts(event: NewEvent) -> tuple[str, int]:
    payload = intake._payload(event.payload)
    return payload.text, event.digest_of(payload.in_order, str(event.image_id))


def test_stored_digest_is_that_of_the_event(world: World) -> None:
    """Whether its image exists (then the id's text comes from the row), or the event has none."""
    rated = world.rating("a", 3)
    retraction = world.rating("b", kind=FeedbackKind.RETRACTION, image_id=None, payload={}, retracts_event_id="a")
    world.append(rated, retraction)
    assert [row.body_digest for row in world.log()] == [rated.body_digest(), retraction.body_digest()]


@pytest.mark.parametrize("payload", [{}, {"ratings": {"b": -0.0, "a": 0.0}, "scale": SCALE}, {"liked": True}, {"é": 1}])
@pytest.mark.parametrize("retracts", [None, 'a "quoted" é'])
def test_digest_is_that_of_the_content_as_sorted_json(payload: dict[str, Any], retracts: str | None) -> None:
    """Digests of stored events must not change: an event that is posted again would be a conflict."""
    event = NewEvent(0, new_id(), "e", FeedbackKind.RATING, payload, image_id=new_id(), retracts_event_id=retracts)
    content = ["rating", str(event.image_id), "None", "None", retracts, payload]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    expected = int(digest[:16], 16) - (int(digest[0], 16) >= 8) * 2**64
    assert event.body_digest() == expected
    for _ in range(2):  # the second time the payload's texts are known
        stored, digest = texts(event)
        assert (unpacked(json.loads(stored)), digest) == (payload, expected)


def test_payloads_whose_numbers_are_equal_but_not_the_same_keep_their_digests() -> None:
    events = [
        NewEvent(0, new_id(), "e", FeedbackKind.RATING, {"ratings": {"beauty": value}}, image_id=None)
        for value in (0, 0.0, -0.0, False, "0")
    ]
    assert len({texts(event) for event in events}) == len(events)
