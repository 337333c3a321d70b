"""Places over HTTP: who the caller is, what holds no place, and what is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from paaplus.api import places
from paaplus.api.fairness import FairnessMiddleware, caller_of
from paaplus.api.places import Place, Places
from paaplus.services.predictions.predict import Predictor
from paaplus.services.users import users
from paaplus.services.users.failed_attempts import FailedAttempts
from paaplus.settings import Settings
from tests.api.conftest import World, app_with, jpeg
from tests.api.test_errors import assert_error


def until(is_so: Callable[[], bool]) -> None:
    """Wait for it, a minute at most."""
    ticks = threading.Event()
    for _ in range(6000):
        if is_so():
            return
        ticks.wait(0.01)
    raise AssertionError("it did not happen")


class Held:
    """Look-ups of users that wait until they are let go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        right, self.go_on, self.num_begun = users.resolve, threading.Event(), 0

        def resolve(*arguments: Any, **options: Any) -> Any:
            self.num_begun += 1
            assert self.go_on.wait(60)
            return right(*arguments, **options)

        monkeypatch.setattr(users, "resolve", resolve)


@pytest.fixture
def few(settings: Settings):
    """One place, and two requests of a caller that may wait for it."""
    changes = {"requests_at_once": 1, "max_queued_per_caller": 2}
    with TestClient(app_with(settings.model_copy(update=changes))) as client:
        yield World(client)


def test_requests_of_a_caller_wait_for_each_other_and_too_many_are_refused(
    few: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert few.application.get("/v1/users").status_code == 200  # the key is known now
    held, places = Held(monkeypatch), few.context.places
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(few.application.get, "/v1/users/ada") for _ in range(3)]
        until(lambda: places.num_queued == 2)
        refused = few.application.get("/v1/users/ada")
        assert_error(refused, 429, "too_many")
        assert refused.headers["Retry-After"] == "1"
        assert refused.headers["X-Request-ID"]
        assert few.nobody.get("/healthz").status_code == few.nobody.get("/readyz").status_code == 200
        assert few.application.get("/v1/users/healthz").status_code == 429, "a name is no health route"
        held.go_on.set()
        assert [answer.result(60).status_code for answer in answers] == [200] * 3
    assert (places.num_free, places.num_queued) == (1, 0)


def test_long_poll_holds_no_place(few: World) -> None:
    body = {"items": [{"user": "ada", "image": str(few.images[2])}], "wait_s": 30}
    places, waiter = few.context.places, few.context.features
    with ThreadPoolExecutor(1) as pool:
        poll = pool.submit(few.application.post, "/v1/predictions", body)
        until(lambda: bool(waiter._waiting))
        assert places.num_free == 1
        assert few.application.get("/v1/users").status_code == 200
        waiting = next(iter(waiter._waiting))
        few.client.portal.call(waiting.done.set)  # type: ignore[union-attr]
        assert poll.result(60).status_code == 200
    assert places.num_free == 1


def test_what_fails_gives_its_place_back(few: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_arguments: Any, **_options: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(users, "resolve", fails)
    monkeypatch.setattr(Predictor, "answer_asked", fails)
    for _ in range(3):
        assert few.application.get("/v1/users/ada").status_code == 500
        body = {"items": [{"user": "ada", "image": str(few.images[0])}]}
        assert few.application.post("/v1/predictions", body).status_code == 500
    assert few.nobody.get("/v1/users").status_code == 401
    assert few.application.post("/v1/feedback", {"events": "none"}).status_code == 422
    assert few.context.places.num_free == 1


def test_every_kind_of_answer_gives_its_place_back(few: World) -> None:
    image = few.application.upload(jpeg(40, (900, 700))).json()["id"]
    batch = {"events": [few.rating(f"e{n}") for n in range(200)]}
    assert few.application.post("/v1/feedback", few.rating("one")).status_code == 201
    assert few.application.post("/v1/feedback", batch).json()["accepted"] == 200
    for path in ("/v1/users/ada/export", f"/v1/images/{image}/thumbnail", "/metrics", "/openapi.json", "/nothing"):
        few.application.get(path)
        assert few.context.places.num_free == 1, path
    assert few.application.request("HEAD", "/v1/users").status_code == 200
    assert few.context.places.num_free == 1


def test_caller_is_the_owner_of_a_known_key_and_else_the_address() -> None:
    failures = FailedAttempts(0)
    failures.remember("paa_known")

    def of(*headers: tuple[bytes, bytes]) -> str:
        return caller_of({"headers": headers, "client": ("10.0.0.7", 4)}, failures)

    known = of((b"authorization", b"Bearer paa_known"))
    assert "paa_known" not in known, "a secret is no name"
    assert known == of((b"x", b"y"), (b"authorization", b"bearer  paa_known"))
    invented = {of((b"authorization", b"Bearer paa_%d" % n)) for n in range(50)}
    assert invented == {of()} == {of((b"cookie", b"paaplus_studio=invented; a=b"))} == {"address 10.0.0.7"}
    assert of((b"cookie", b"a=b; paaplus_studio=paa_known")) == known
    assert caller_of({"headers": [], "client": None}, failures) == places.ADDRESS


def test_unknown_keys_are_one_caller_in_a_running_application(few: World) -> None:
    for number in range(5):
        few.nobody.request("GET", "/v1/users", headers={"Authorization": f"Bearer paa_{number:043x}"})
    assert few.context.places.num_callers == 1
    few.application.get("/v1/users")
    few.application.get("/v1/users")
    assert few.context.places.num_callers == 2


class Line:
    """The middleware over an application that notes whom it serves; clients send, hang up and read by hand."""

    def __init__(self) -> None:
        self.served: list[str] = []
        self.sent: list[Any] = []
        self.end = asyncio.Event()
        self.places = Places(1, 10, 60)
        state = SimpleNamespace(context=SimpleNamespace(places=self.places, failures=FailedAttempts(0)))
        self.app = SimpleNamespace(state=state)
        self.middleware = FairnessMiddleware(self._serve)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        self.served.append(scope["client"][0])
        while (await receive()).get("more_body"):
            pass
        await self.end.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def request(self, client: str) -> tuple[asyncio.Task[None], asyncio.Queue[Any]]:
        messages: asyncio.Queue[Any] = asyncio.Queue()
        scope = {"type": "http", "path": "/v1/users", "headers": [], "client": (client, 1), "app": self.app}

        async def send(message: Any) -> None:
            self.sent.append((client, message["type"]))
            await asyncio.sleep(0)

        return asyncio.create_task(self.middleware(scope, messages.get, send)), messages  # type: ignore[arg-type]


WHOLE = {"type": "http.request", "body": b"", "more_body": False}
PART = {"type": "http.request", "body": b"a", "more_body": True}


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_request_whose_client_has_gone_while_it_waited_is_not_carried_out() -> None:
    async def scene() -> None:
        line = Line()
        (first, to_first), (gone, to_gone), (last, to_last) = (line.request(name) for name in ("a", "b", "c"))
        for messages in (to_first, to_gone, to_last):
            messages.put_nowait(WHOLE)
        await settle()
        assert line.places.num_queued == 2
        to_gone.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(gone, 60)
        assert line.places.num_queued == 1
        line.end.set()
        await asyncio.wait_for(asyncio.gather(first, last), 60)
        assert line.served == ["a", "c"]
        assert line.places.num_free == 1

    asyncio.run(scene())


def test_slow_body_and_slow_reader_hold_no_place() -> None:
    async def scene() -> None:
        line = Line()
        slow, to_slow = line.request("slow")
        await settle()
        assert line.places.num_free == 1, "nothing of the body is there"
        to_slow.put_nowait(PART)
        await settle()
        assert line.served == ["slow"]
        assert line.places.num_free == 1, "the rest is not there"
        to_slow.put_nowait(WHOLE)
        await settle()
        assert line.places.num_free == 0
        line.end.set()
        while not line.sent:
            await asyncio.sleep(0)
        assert line.places.num_free == 1, "the answer has begun"
        await asyncio.wait_for(slow, 60)

    asyncio.run(scene())


def test_cancelled_request_gives_its_place_back_whether_it_waits_or_works() -> None:
    async def scene() -> None:
        line = Line()
        (works, to_works), (waits, to_waits) = line.request("a"), line.request("b")
        to_works.put_nowait(WHOLE)
        to_waits.put_nowait(WHOLE)
        await settle()
        for task in (waits, works):
            task.cancel()
        await asyncio.gather(works, waits, return_exceptions=True)
        assert (line.places.num_free, line.places.num_queued) == (1, 0)

    asyncio.run(scene())


def test_an_error_counts_as_refused(few: World, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    close = Place.close

    def noted(place: Place, *, refused: bool = False) -> None:
        if not place.is_closed:
            closed.append(refused)
        close(place, refused=refused)

    monkeypatch.setattr(Place, "close", noted)
    statuses = [
        few.application.get("/v1/users").status_code,
        few.nobody.get("/v1/users").status_code,
        few.application.post("/v1/feedback", {"events": "none"}).status_code,
    ]
    assert statuses == [200, 401, 422]
    assert closed == [False, True, True]
