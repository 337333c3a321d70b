"""A call is sent again when no answer comes, and changes nothing more; the two clients are one interface."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from paaplus.client import AsyncClient, Client, NotInTime, NotReached, RequestFailed, Retries
from paaplus.errors import InvalidInput

QUICK = Retries(limit=3, base_s=0.001, longest_s=0.5)
LOST = httpx2.ConnectError("connection refused")
MOVED = {"user_id": "u", "from_number": 2, "to_number": 1, "num_excluded": 0, "num_released": 0}
EVENT = {"event_id": "e", "status": "accepted", "sequence": 1, "trains": True}


class Server:
    """Answers what it is told to, and keeps what was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers: Iterator[Any] = iter(answers)
        self.asked: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        status, body, headers = (*answer, {})[:3]
        return httpx2.Response(status, json=body, headers=headers)


def problem(code: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": f"it is {code}", "details": [1]}}


def run(server: Server, act: Callable[[Any], Any], *, is_async: bool = False, retries: Retries = QUICK) -> Any:
    """What an act gives with this server."""
    transport = httpx2.MockTransport(server)
    if not is_async:
        with Client("http://x", "k", retries=retries, http_transport=transport) as client:
            return act(client)

    async def main() -> Any:
        async with AsyncClient("http://x", "k", retries=retries, http_transport=transport) as client:
            return await act(client)

    return asyncio.run(main())


both = pytest.mark.parametrize("is_async", [False, True])


@both
def test_act_whose_answer_was_lost_is_sent_again_under_the_same_idempotency_key(is_async: bool) -> None:
    server = Server(LOST, httpx2.ReadTimeout("slow"), (503, problem("unavailable"), {"Retry-After": "0"}), (200, MOVED))
    change = run(server, lambda c: c.rollback("ada", to=1, reason="try"), is_async=is_async)
    assert (change.from_number, change.to_number) == (2, 1)
    keys = {request.headers["Idempotency-Key"] for request in server.asked}
    assert (len(server.asked), len(keys)) == (4, 1)
    assert {request.content for request in server.asked} == {server.asked[0].content}
    assert server.asked[0].headers["Authorization"] == "Bearer k"


@both
def test_event_has_its_id_before_it_is_sent_for_the_first_time(is_async: bool) -> None:
    server = Server(LOST, (201, EVENT), (201, EVENT))
    run(server, lambda c: c.rate("ada", "i", 6, scale=(1, 7)), is_async=is_async)
    ids = [json.loads(request.content)["event_id"] for request in server.asked]
    assert ids[0] == ids[1]
    run(server, lambda c: c.like("ada", "i"), is_async=is_async)
    assert json.loads(server.asked[2].content)["event_id"] != ids[0], "another event"


def test_many_events_keep_their_ids_and_places_over_batches() -> None:
    answers = [
        (200, {"accepted": n, "duplicates": 0, "rejected": 0, "items": [
            {"index": i, "event_id": "x", "status": "accepted"} for i in range(n)
        ]})
        for n in (500, 2)
    ]  # fmt: skip
    server = Server(LOST, *answers)
    seen: list[tuple[int, int]] = []
    events = ({"user": "ada", "kind": "binary", "image": "i", "liked": True} for _ in range(502))
    batch = run(server, lambda c: c.post_events(events, on_progress=lambda *done: seen.append(done)))
    assert (batch.accepted, batch.items[-1].index, seen) == (502, 501, [(500, 502), (502, 502)])
    sent = [json.loads(request.content)["events"] for request in server.asked]
    assert sent[0] == sent[1]
    assert len({event["event_id"] for part in sent[1:] for event in part}) == 502


@both
def test_deletion_that_arrived_although_its_answer_was_lost_is_done(is_async: bool) -> None:
    server = Server(LOST, (404, problem("not_found")))
    run(server, lambda c: c.erase_user("ada"), is_async=is_async)
    with pytest.raises(RequestFailed, match="not_found"):
        run(Server((404, problem("not_found"))), lambda c: c.erase_user("ada"), is_async=is_async)


@both
def test_any_other_request_is_sent_again_under_one_key_and_its_query_without_what_is_missing(is_async: bool) -> None:
    server = Server(LOST, (200, {"id": "b"}), (200, {"items": []}))
    assert run(server, lambda c: c.call("POST", "/v1/review-batches", {"name": "n"}), is_async=is_async) == {"id": "b"}
    first, second = server.asked
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    run(server, lambda c: c.call("get", "/v1/surveys", limit=3, cursor=None), is_async=is_async)
    assert str(server.asked[2].url) == "http://x/v1/surveys?limit=3"
    assert server.asked[2].method == "GET"
    assert "Idempotency-Key" not in server.asked[2].headers


@both
def test_refusal_is_told_as_it_is_and_not_sent_again(is_async: bool) -> None:
    server = Server((409, problem("conflict"), {"X-Request-ID": "r1"}))
    with pytest.raises(RequestFailed, match="it is conflict") as caught:
        run(server, lambda c: c.user("ada"), is_async=is_async)
    assert (caught.value.status, caught.value.code, caught.value.details) == (409, "conflict", [1])
    assert caught.value.request_id == "r1"


@both
def test_server_that_is_down_is_given_up_and_named(is_async: bool) -> None:
    server = Server(*[LOST] * 4)
    with pytest.raises(NotReached, match=r"GET /v1/users/ada: ConnectError: connection refused"):
        run(server, lambda c: c.user("ada"), is_async=is_async)
    assert len(server.asked) == 4


def test_long_pause_that_the_server_asks_for_is_left_to_the_caller() -> None:
    server = Server((429, problem("too_many"), {"Retry-After": "3600"}))
    with pytest.raises(RequestFailed, match="too_many"):
        run(server, lambda c: c.user("ada"))


def test_page_of_a_proxy_is_an_error_with_its_beginning() -> None:
    def proxy(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(413, text="<html>too large</html>")

    with (
        Client("http://x", "k", http_transport=httpx2.MockTransport(proxy)) as client,
        pytest.raises(RequestFailed, match="413 <html>too large") as caught,
    ):
        client.user("ada")
    assert caught.value.code == "http_error"


def test_names_of_users_are_quoted_and_redirects_not_followed() -> None:
    server = Server((302, {}, {"Location": "http://evil.example/"}))
    with pytest.raises((RequestFailed, InvalidInput)):
        run(server, lambda c: c.user("a/b?c d"))
    assert [str(request.url) for request in server.asked] == ["http://x/v1/users/a%2Fb%3Fc%20d"]
    with pytest.raises(InvalidInput, match="http"):
        Client("localhost:8000", "k")


USER = {
    "id": "u", "external_id": "ada", "application": "a", "policy": {}, "policy_overrides": {}, "pinned": False,
    "shares_taste": False, "active_adapter": None, "feedback_sequence": 9, "trained_sequence": 3, "pending_feedback": 6,
    "next_due_at": "2026-11-28T00:00:00+00:00", "due_reason": "interval", "last_trained_at": None,
    "created_at": "2026-11-28T00:00:00Z", "a_field_of_a_later_version": 1,
}  # fmt: skip


@both
def test_wait_in_vain_says_what_the_user_waits_for(is_async: bool) -> None:
    server = Server(*[(200, USER)] * 99)
    with pytest.raises(NotInTime, match=r"to event 3, not 9, after 0.1 s; 6 events wait, due at 2026.*interval"):
        run(server, lambda c: c.wait_until_trained("ada", timeout_s=0.1), is_async=is_async)
    assert server.asked[1].url.params["wait_for"] == "9"


@both
def test_audience_is_asked_for_again_and_read_as_columns(is_async: bool) -> None:
    answer = {
        "image_id": "i", "base_model": {"name": "lite2", "version": 1, "digest": "d"}, "generic": {"beauty": 5.0},
        "user_id": ["u"], "external_id": ["ada"], "scores": {"beauty": [7.5]}, "version": [3], "failed": {},
        "next_cursor": None,
    }  # fmt: skip
    server = Server((503, problem("unavailable")), (200, answer))
    found = run(server, lambda c: c.audience("i", top=1, aspect="beauty"), is_async=is_async)
    assert (found.external_id, found.scores, found.version) == (["ada"], {"beauty": [7.5]}, [3])
    assert [json.loads(request.content) for request in server.asked] == [
        {"image": "i", "top": 1, "aspect": "beauty"}
    ] * 2


@both
def test_pages_are_read_as_they_are_needed(is_async: bool) -> None:
    server = Server((200, {"items": [USER, USER], "next_cursor": "c1"}), (200, {"items": [USER], "next_cursor": None}))

    def act(client: Any) -> Any:
        if not is_async:
            return [user.external_id for user in client.users()]

        async def collect() -> list[str]:
            return [user.external_id async for user in client.users()]

        return collect()

    assert run(server, act, is_async=is_async) == ["ada"] * 3
    assert [request.url.params.get("cursor") for request in server.asked] == [None, "c1"]


def test_answer_of_another_version_is_named() -> None:
    older = {name: value for name, value in USER.items() if name != "trained_sequence"}
    with pytest.raises(InvalidInput, match="'trained_sequence'"):
        run(Server((200, older)), lambda c: c.user("ada"))


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def interface(client: type) -> dict[str, list[str]]:
        methods = inspect.getmembers(client, inspect.isfunction)
        return {name: list(inspect.signature(method).parameters) for name, method in methods if name[0] != "_"}

    assert interface(Client) == interface(AsyncClient)


def test_client_is_light() -> None:
    heavy = {"torch", "sqlalchemy", "numpy", "pydantic", "fastapi", "celery", "PIL", "paaplus.settings", "rich"}
    program = f"import sys, paaplus.client; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@both
@pytest.mark.parametrize(
    ("act", "path"),
    [
        (lambda c: c.image("../users/ada"), "/v1/images/..%2Fusers%2Fada"),
        (lambda c: c.remove_image("../users/ada"), "/v1/images/..%2Fusers%2Fada"),
        (lambda c: c.content("a/b"), "/v1/images/a%2Fb/content"),
        (lambda c: c.remove_webhook("../users/ada?x"), "/v1/webhooks/..%2Fusers%2Fada%3Fx"),
    ],
)
def test_ids_do_not_lead_to_other_paths(act: Callable[[Any], Any], path: str, is_async: bool) -> None:
    """An id may come from elsewhere: `DELETE /v1/images/../users/ada` would have erased a user."""
    server = Server((404, problem("not_found")))
    with suppress(RequestFailed):
        run(server, act, is_async=is_async)
    assert [request.url.raw_path.decode() for request in server.asked] == [path]


@both
@pytest.mark.parametrize("name", ["", ".", ".."])
@pytest.mark.parametrize("method", ["user", "image", "remove_image", "remove_webhook"])
def test_what_names_nothing_is_not_asked_for(method: str, name: str, is_async: bool) -> None:
    server = Server()
    with pytest.raises(InvalidInput, match="names nothing"):
        run(server, lambda c: getattr(c, method)(name), is_async=is_async)
    assert server.asked == []


@both
@pytest.mark.parametrize("path", ["http://evil.example/v1/users", "//evil.example/v1/users", "v1/users", ""])
def test_the_key_goes_to_this_server_only(path: str, is_async: bool) -> None:
    server = Server()
    with pytest.raises(InvalidInput, match="must begin with /v1/"):
        run(server, lambda c: c.call("GET", path), is_async=is_async)
    assert server.asked == []


def test_a_key_as_a_file_has_it_is_taken_and_what_is_none_is_not_told() -> None:
    server = Server((200, {"items": [], "next_cursor": None}))
    with Client("http://x", " canary\n", http_transport=httpx2.MockTransport(server)) as client:
        assert list(client.users()) == []
    assert server.asked[0].headers["Authorization"] == "Bearer canary"
    for key in ("", " \n", "canary\ncanary", "canary canary", "can\u00e4ry"):
        with pytest.raises(InvalidInput, match="the API key is empty, or has characters that no key has") as caught:
            Client("http://x", key)
        assert "can" not in str(caught.value).removeprefix("the API key is empty, or has characters that no key")


def test_names_of_uploaded_files_need_not_be_utf8(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9.png")
    file.write_bytes(b"x")
    server = Server((422, problem("invalid_request")))
    with pytest.raises(RequestFailed):
        run(server, lambda c: c.upload(file))
    assert "caf\ufffd".encode() in server.asked[0].content
