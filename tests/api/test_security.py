"""Headers that browsers obey, keys that are shut everywhere at once, and a process that fetches nothing."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter
from starlette.testclient import TestClient

from paaplus.api.app import create_app
from paaplus.settings import Settings
from tests.api.conftest import Caller, World, jpeg
from tests.api.test_scopes import ROUTES, declared_guards

URL = "http://127.0.0.1:9/canary"


# --- headers


def test_every_answer_carries_what_browsers_must_not_do(world: World) -> None:
    answers = [
        world.application.get("/v1/users/ada"),
        world.nobody.get("/v1/users/ada"),
        world.application.post("/v1/feedback", 7),
        world.client.get("/no/such/path"),
        world.client.get("/healthz"),
    ]
    for answer in answers:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert "Strict-Transport-Security" not in answer.headers
        assert "Server" not in answer.headers
    assert [answer.headers.get("Cache-Control") for answer in answers] == ["no-store"] * 3 + [None] * 2


def test_pages_may_load_their_parts_and_are_framed_by_nobody(world: World) -> None:
    policy = world.client.get("/docs").headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'self'" in policy
    assert "script-src 'self' 'unsafe-inline'" in policy


def test_transport_security_is_asked_for_behind_tls_only(settings: Settings) -> None:
    with TestClient(create_app(settings), base_url="https://testserver") as client:
        assert client.get("/healthz").headers["Strict-Transport-Security"] == "max-age=31536000"


# --- keys, on two processes


@pytest.fixture
def other_process(world: World, settings: Settings) -> Iterator[TestClient]:
    """Another API process on the same database, with caches of its own."""
    with TestClient(create_app(settings)) as client:
        yield client


def statuses(token: str, *clients: TestClient) -> list[int]:
    return [Caller(client, token).get("/v1/users").status_code for client in clients]


def test_revoked_key_is_shut_on_all_processes_when_the_call_answers(world: World, other_process: TestClient) -> None:
    key = world.admin.post("/v1/keys", {"name": "k", "scope": "application", "application": "test-app"}).json()
    for _ in range(5):
        assert statuses(key["key"], world.client, other_process) == [200, 200]
    assert world.admin.delete(f"/v1/keys/{key['id']}").status_code == 200
    assert statuses(key["key"], other_process, world.client) == [401, 401]


def test_rotated_key_opens_the_same_with_its_new_secret_only(world: World, other_process: TestClient) -> None:
    key = world.admin.post("/v1/keys", {"name": "k", "scope": "application", "application": "test-app"}).json()
    assert statuses(key["key"], world.client, other_process) == [200, 200]
    rotated = world.admin.post(f"/v1/keys/{key['id']}/rotate")
    assert rotated.status_code == 200
    new = rotated.json()
    assert statuses(key["key"], other_process, world.client) == [401, 401]
    assert statuses(new["key"], other_process, world.client) == [200, 200]
    assert new["rotated_at"] is not None
    unchanged = ("id", "name", "scope", "application", "created_at", "revoked_at")
    assert {name: new[name] for name in unchanged} == {name: key[name] for name in unchanged}
    last = world.admin.get("/v1/audit", limit=1).json()["items"][0]
    assert (last["action"], last["subject_id"]) == ("key_rotated", key["id"])


def test_revoked_key_is_not_rotated_back_to_life(world: World) -> None:
    key = world.admin.post("/v1/keys", {"name": "k", "scope": "admin"}).json()
    world.admin.delete(f"/v1/keys/{key['id']}")
    assert world.admin.post(f"/v1/keys/{key['id']}/rotate").status_code == 409
    assert world.admin.post(f"/v1/keys/{world.ada}/rotate").status_code == 404


def test_key_is_never_compared_with_a_stored_one(world: World) -> None:
    """Nothing to time: a key is looked up by its SHA-256, of which a caller learns nothing by guessing keys."""
    token = world.admin.token
    assert token is not None
    for wrong in (token[:-1], token + "x", token.swapcase(), "paa_" + "A" * 43, token[:-1] + "é"):
        answer = world.client.get("/v1/users", headers={"Authorization": f"Bearer {wrong}".encode("latin-1")})
        assert answer.status_code == 401, wrong


# --- the matrix of keys and routes itself


def test_route_without_a_rule_would_fail_the_matrix(settings: Settings) -> None:
    app = create_app(settings)
    forgotten = APIRouter(prefix="/v1/forgotten")

    @forgotten.post("/thing")
    def thing() -> None:
        """Nobody said whom this opens to."""

    app.include_router(forgotten)
    guards = declared_guards(app)
    assert guards["POST", "/v1/forgotten/thing"] == []
    assert set(guards) - set(ROUTES) == {("POST", "/v1/forgotten/thing")}


# --- no fetching


class Watch:
    """Outgoing connections and name look-ups of this process. An audit hook cannot be removed, so it is switched."""

    def __init__(self) -> None:
        self.is_on = False
        self.seen: list[tuple[str, Any]] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.is_on and event in ("socket.connect", "socket.getaddrinfo", "urllib.Request", "subprocess.Popen"):
            self.seen.append((event, arguments))


_watch = Watch()

SVG = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{URL}"/></svg>'.encode()
XML = f'<!DOCTYPE x [<!ENTITY e SYSTEM "{URL}">]><x>&e;</x>'.encode()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)  # PostgreSQL is itself a connection
def test_nothing_that_a_caller_sends_makes_the_process_open_a_connection(world: World) -> None:
    rating = world.rating("u1")
    _watch.is_on, _watch.seen = True, []
    try:
        for data in (SVG, XML, URL.encode(), b"\x89PNG\r\n\x1a\n" + XML, jpeg() + XML):
            world.application.upload(data, filename=URL)
        for body in (
            rating | {"image": URL},
            rating | {"image_url": URL},
            rating | {"user": URL},
            rating | {"event_id": URL},
            rating | {"ratings": {URL: 5}},
        ):
            world.application.post("/v1/feedback", body)
        world.application.post("/v1/predictions", {"users": [URL], "images": [URL]})
        world.application.post("/v1/users", {"external_id": URL})
        world.application.put("/v1/users/ada/policy", {"strategy": URL})
        world.admin.post("/v1/keys", {"name": URL, "scope": "admin"})
        headers = {"X-Forwarded-Host": "canary", "Host": "canary", "Referer": URL, "X-Original-URL": URL}
        names = defaultdict(lambda: "1", user="ada")
        for method, path in ROUTES:
            world.admin.request(method, path.format_map(names), headers=headers)
    finally:
        _watch.is_on = False
    assert _watch.seen == []
    assert not {"urllib.request", "requests", "aiohttp"} & set(vars(sys.modules["paaplus.api.app"]))
