"""Knowing when a user is ready: requests that wait, and streams that go on where they ended."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa

from paaplus.db.tables import UserRow
from paaplus.db.tables.events import EventKind
from paaplus.services import events
from tests.api.conftest import World
from tests.api.test_errors import assert_error


def train(world: World, sequence: int) -> None:
    with world.database.session() as session:
        session.execute(sa.update(UserRow).where(UserRow.id == world.ada).values(trained_sequence=sequence))


def happen(world: World, kind: EventKind = EventKind.ADAPTER_PROMOTED) -> None:
    with world.database.session() as session:
        events.write(session, kind, world.ada, {"to_number": 1})


def told(text: str) -> list[dict[str, Any]]:
    """The events of a stream, each with its id and event lines."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            event = json.loads(fields["data"])
            assert (fields["id"], fields["event"]) == (event["id"], event["type"])
            found.append(event)
    return found


def test_request_waits_until_the_user_is_trained(world: World) -> None:
    for i in range(2):
        world.application.post("/v1/feedback", world.rating(f"e{i}", image=i))
    timer = threading.Timer(0.5, train, (world, 2))
    timer.start()
    started = time.monotonic()
    user = world.application.get("/v1/users/ada", wait_for=2, wait_s=20).json()
    timer.join()
    assert (user["feedback_sequence"], user["trained_sequence"]) == (2, 2)
    assert 0.4 < time.monotonic() - started < 20, "it waited on, although the user is trained"
    for query in ({"wait_for": 1}, {"wait_for": 0}, {"wait_s": 20}):
        assert world.user.get("/v1/users/ada", **query).json()["trained_sequence"] == 2, "nothing to wait for"


def test_wait_ends_in_time_and_says_how_far_it_is(world: World) -> None:
    started = time.monotonic()
    assert world.application.get("/v1/users/ada", wait_for=7, wait_s=0.4).json()["trained_sequence"] == 0
    assert 0.3 < time.monotonic() - started < 30
    for query in (
        {"wait_for": -1},
        {"wait_for": "x"},
        {"wait_s": -1},
        {"wait_s": "nan"},
        {"wait_for": "1_0"},
        {"wait_s": "1_0"},
        {"wait": 1},
    ):
        assert world.application.get("/v1/users/ada", **query).status_code == 422
    assert_error(world.other.get("/v1/users/ada", wait_for=7), 404, "not_found")


def test_wait_for_a_user_who_is_erased_ends(world: World) -> None:
    timer = threading.Timer(0.4, lambda: world.application.delete("/v1/users/bob"))
    timer.start()
    answer = world.application.get("/v1/users/bob", wait_for=7, wait_s=20)
    timer.join()
    assert_error(answer, 404, "not_found")


def test_stream_tells_what_happens_and_goes_on_after_the_last_event(world: World) -> None:
    happen(world)  # before the stream begins

    def happen_while_it_is_open() -> None:
        while not world.context.streams._open:
            time.sleep(0.02)
        happen(world, EventKind.DRIFT_FOUND)

    thread = threading.Thread(target=happen_while_it_is_open)
    thread.start()
    world.context.settings.stream_s = 3.0
    answer = world.user.get("/v1/users/ada/events")
    thread.join()
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["Cache-Control"] == "no-store"
    [event] = told(answer.text)
    assert (event["type"], event["user"]["external_id"], event["data"]) == ("drift.found", "ada", {"to_number": 1})
    world.context.settings.stream_s = 0.3
    happen(world, EventKind.ADAPTER_REFUSED)
    again = world.user.request("GET", "/v1/users/ada/events", headers={"Last-Event-ID": event["id"]})
    assert [one["type"] for one in told(again.text)] == ["adapter.refused"]
    whole = world.user.request("GET", "/v1/users/ada/events", headers={"Last-Event-ID": str(events.NONE)})
    assert [one["type"] for one in told(whole.text)] == ["adapter.promoted", "drift.found", "adapter.refused"]
    assert told(world.application.get(f"/v1/users/{world.bob}/events").text) == []


def test_streams_are_refused_bounded_and_given_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_error(world.other.get("/v1/users/ada/events"), 404, "not_found")
    wrong = world.user.request("GET", "/v1/users/ada/events", headers={"Last-Event-ID": "7"})
    assert_error(wrong, 400, "invalid_input")
    monkeypatch.setattr(world.context.streams, "_max", 0)
    assert_error(world.user.get("/v1/users/ada/events"), 429, "too_many")
    monkeypatch.setattr(world.context.streams, "_max", 1)
    for _ in range(3):
        assert world.user.get("/v1/users/ada/events").status_code == 200
    assert not world.context.streams._open


def test_stream_is_not_counted_as_a_slow_request(world: World) -> None:
    world.user.get("/v1/users/ada/events")
    text = world.client.get("/metrics").text
    assert 'route="/v1/users/{user}/events"' in text
    assert not [line for line in text.splitlines() if "seconds" in line and "/events" in line]
