"""Waiting in the API: bounded by key and user, without threads and connections, and never for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from paaplus.api import waiting
from paaplus.api.waiting import OneAtATime, Turns, Waiter
from paaplus.db.locks import lock_user
from paaplus.errors import TooMany
from paaplus.settings import Settings
from tests.api.conftest import World, app_with, jpeg
from tests.api.test_errors import assert_error
from tests.support.factories import make_features


class Missing:
    """Images without features, as a database would say; counts how often it was asked."""

    def __init__(self, *image_ids: UUID) -> None:
        self.ids = set(image_ids)
        self.num_asked = 0

    def __call__(self, image_ids: Collection[UUID]) -> set[UUID]:
        self.num_asked += 1
        return self.ids & set(image_ids)


def test_hundreds_wait_with_one_question_at_a_time() -> None:
    first, second = uuid4(), uuid4()
    missing = Missing(first, second)

    async def scene() -> list[bool]:
        waiter = Waiter(missing, max_per_key=1000)
        threads = threading.active_count()
        waits = [asyncio.create_task(waiter.wait("k", [first] if i % 2 else [first, second], 100)) for i in range(300)]
        await asyncio.sleep(0.5)
        assert threading.active_count() <= threads + 1
        assert not any(task.done() for task in waits)
        missing.ids.discard(first)
        await asyncio.wait_for(asyncio.shield(waits[1]), 60)
        assert not waits[0].done()
        missing.ids.clear()
        return list(await asyncio.wait_for(asyncio.gather(*waits), 60))

    assert asyncio.run(scene()) == [True] * 300
    assert missing.num_asked < 300, "each waits by its own questions"


def test_waits_of_a_key_are_bounded_and_end() -> None:
    image = uuid4()

    async def scene() -> None:
        waiter = Waiter(Missing(image), max_per_key=2)
        two = [asyncio.create_task(waiter.wait("k", [image], 0.6)) for _ in range(2)]
        await asyncio.sleep(0)
        started = time.monotonic()
        assert not await waiter.wait("k", [image], 60)
        assert time.monotonic() - started < 30
        assert await waiter.wait("other", [image], 0.1), "another key waits"
        assert await asyncio.gather(*two) == [True, True]
        assert await waiter.wait("k", [image], 0.1), "there is room again"

    asyncio.run(scene())


def test_database_that_fails_meanwhile_ends_no_wait() -> None:
    image = uuid4()
    answers: list[Any] = [OSError("gone"), {image}, OSError("gone"), set()]

    def still_missing(_: Collection[UUID]) -> set[UUID]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return set(answer)

    async def scene() -> None:
        assert await Waiter(still_missing, 2).wait("k", [image], 20)

    asyncio.run(scene())
    assert answers == []


def test_turns_of_one_user_are_bounded_and_of_others_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "TURN_S", 0.3)

    async def scene() -> None:
        turns, release = Turns(2), asyncio.Event()

        async def change(*users: str) -> None:
            async with turns.take(users):
                await release.wait()

        running = [asyncio.create_task(change("ada")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(TooMany, match="2 requests that change this user"):
            await change("ada")
        with pytest.raises(TooMany):
            await change("bob", "ada")
        other = asyncio.create_task(change("bob"))
        waits = asyncio.create_task(change("ada"))
        await asyncio.sleep(0.1)
        release.set()
        await asyncio.gather(*running, other, waits)
        assert not turns._running

    asyncio.run(scene())


def test_one_at_a_time_is_by_key() -> None:
    exports = OneAtATime("an export is being written")
    with exports.take("a"), exports.take("b"), pytest.raises(TooMany, match="being written"), exports.take("a"):
        pass
    with exports.take("a"):
        pass


def test_waiting_prediction_gets_its_scores(world: World) -> None:
    image = world.application.upload(jpeg(120)).json()["id"]

    def extract() -> None:
        time.sleep(0.5)
        with world.database.session() as session:
            data = world.features_ID[0].tobytes()
            make_features(session, image_id=UUID(image), extractor_digest=world.base.extractor_digest, data=data)

    thread = threading.Thread(target=extract)
    thread.start()
    body = {"items": [{"user": "ada", "image": image}], "wait_s": 20}
    started = time.monotonic()
    [item] = world.application.post("/v1/predictions", body).json()["items"]
    thread.join()
    assert item["status"] == "scored"
    assert 0.3 < time.monotonic() - started < 20


def test_prediction_without_anything_missing_writes_no_job(world: World) -> None:
    body = {"items": [{"user": "ada", "image": str(world.images[0])}], "wait_s": 20}
    started = time.monotonic()
    assert world.application.post("/v1/predictions", body).json()["pending"] == 0
    assert time.monotonic() - started < 20
    assert world.admin.get("/v1/jobs").json()["items"] == []


# --- locks


@pytest.fixture
def quick(settings: Settings) -> Iterator[World]:
    changes = {"lock_timeout_s": 0.5, "pool_timeout_s": 1.0, "max_changes_per_user": 3}
    with TestClient(app_with(settings.model_copy(update=changes))) as client:
        yield World(client)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_locked_user_keeps_nobody_else_waiting(quick: World) -> None:
    """One user's row is locked for long, and 30 requests want it; another user is answered at once."""
    world = quick
    world.application.get("/v1/users/bob")
    release, locked = threading.Event(), threading.Event()

    def hold() -> None:
        with Session(world.database.engine) as session, session.begin():
            lock_user(session, world.ada)
            locked.set()
            release.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert locked.wait(60)
    try:
        with ThreadPoolExecutor(32) as pool:
            blocked = [pool.submit(world.application.post, "/v1/feedback", world.rating(f"e{i}")) for i in range(30)]
            time.sleep(0.2)
            started = time.monotonic()
            other = world.application.post("/v1/feedback", world.rating("b1", user="bob"))
            ready = world.client.get("/readyz")
            seconds = time.monotonic() - started
            answers = [each.result() for each in blocked]
    finally:
        release.set()
        holder.join()
    assert (other.status_code, ready.status_code) == (201, 200)
    assert seconds < 30
    assert {answer.status_code for answer in answers} <= {429, 503}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
    assert world.application.post("/v1/feedback", world.rating("e0")).status_code == 201


# --- full disk


def test_full_disk_costs_readiness_but_no_scores_and_no_receipts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """On SQLite the database really is full; on PostgreSQL the server's error is made up, for want of a full disk."""
    body = {"users": ["ada", "bob"], "images": [str(image) for image in world.images[:2]]}
    before = world.application.post("/v1/predictions", body).json()
    full = fill(world, monkeypatch)
    events = {"events": [world.rating(f"e{i}") for i in range(500)]}
    assert_error(world.application.post("/v1/feedback", events), 503, "unavailable")
    after = world.application.post("/v1/predictions", body)
    assert (after.status_code, after.json()["receipts_stored"]) == (200, True)
    assert [item["scores"] for item in after.json()["items"]] == [item["scores"] for item in before["items"]]
    ready = world.client.get("/readyz")
    assert (ready.status_code, ready.json()["status"], ready.json()["database"]) == (503, "not_ready", "full")
    full()
    monkeypatch.setattr(world.context.readiness, "_checked", None)
    assert world.client.get("/readyz").status_code == 200
    receipt = after.json()["items"][0]["receipt_id"]
    correction = {k: v for k, v in world.rating("c").items() if k != "image"} | {"kind": "correction"}
    assert world.application.post("/v1/feedback", correction | {"receipt": receipt}).status_code == 201


def fill(world: World, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make every further write fail; returns what makes room again."""
    engine = world.database.engine
    is_full = True
    if engine.dialect.name == "sqlite":

        def bound(connection: Any, *_: Any) -> None:
            cursor = connection.cursor()
            limit = cursor.execute("pragma page_count").fetchone()[0] if is_full else 2**30
            cursor.execute(f"pragma max_page_count = {limit}")

        sa.event.listen(engine, "checkout", bound)
    else:
        import psycopg

        execute, copy = psycopg.Cursor.execute, psycopg.Cursor.copy

        def refuse(statement: Any) -> None:
            if is_full and str(statement).lstrip().upper().startswith(("INSERT", "COPY")):
                raise psycopg.errors.DiskFull("could not extend file: No space left on device")

        def executing(cursor: Any, statement: Any, *given: Any, **options: Any) -> Any:
            refuse(statement)
            return execute(cursor, statement, *given, **options)

        def copying(cursor: Any, statement: Any, *given: Any, **options: Any) -> Any:
            refuse(statement)
            return copy(cursor, statement, *given, **options)

        monkeypatch.setattr(psycopg.Cursor, "execute", executing)
        monkeypatch.setattr(psycopg.Cursor, "copy", copying)

    def make_room() -> None:
        nonlocal is_full
        is_full = False

    return make_room
