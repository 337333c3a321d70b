"""The checks before a route: names that are unknown or doubled, types and sizes of bodies, and no silent choice."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.routing import iter_route_contexts
from sqlalchemy import event
from starlette.testclient import TestClient

from paaplus.api import bodies
from paaplus.api.app import create_app
from paaplus.api.dependencies import OpenToAll
from paaplus.api.routing import DirectRoute, Route
from paaplus.db.tables import ImageRow, UserRow
from paaplus.settings import Settings
from tests.api.conftest import World, app_with, jpeg
from tests.api.test_errors import assert_error
from tests.support.databases import on_one_database

pytestmark = on_one_database  # all is refused before a query
FILE = ("a.jpg", jpeg(), "image/jpeg")


def num_rows(world: World, table: Any) -> int:
    with world.database.read_session() as session:
        return int(session.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def test_every_route_has_the_checks(client: TestClient) -> None:
    routes = [context.original_route for context in iter_route_contexts(client.app.routes)]  # type: ignore[attr-defined]
    ours = [route for route in routes if getattr(route, "include_in_schema", False)]
    assert len(ours) > 60
    assert {type(route) for route in ours} == {Route, DirectRoute}


# --- names


FORMS = {
    "empty user": ([("file", FILE), ("user", (None, ""))], "body.user: is empty"),
    "blank user": ([("file", FILE), ("user", (None, "  "))], "body.user: is empty"),
    "empty application": ([("file", FILE), ("application", (None, ""))], "body.application: is empty"),
    "misspelt field": ([("file", FILE), ("User", (None, "ada"))], "body.User: is not known here; known: 'app"),
    "two users": ([("file", FILE), ("user", (None, "ada")), ("user", (None, "bob"))], "body.user: is given 2 times"),
    "two files": ([("file", FILE), ("file", ("b.jpg", jpeg(60), "image/jpeg"))], "body.file: is given 2 times"),
    "another file": ([("file", FILE), ("mask", ("b.jpg", jpeg(60), "image/jpeg"))], "body.mask: is not known here"),
}


@pytest.mark.parametrize(("parts", "message"), FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("caller", ["application", "user", "admin"])
def test_form_is_refused_by_name_and_stores_nothing(
    world: World, parts: list[tuple[str, Any]], message: str, caller: str
) -> None:
    before = num_rows(world, ImageRow)
    response = world.callers[caller].request("POST", "/v1/images", files=parts)
    assert assert_error(response, 422, "invalid_request")["message"].startswith(message)
    assert num_rows(world, ImageRow) == before


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ('{"external_id": "zoe", "external_id": "zac"}', "body.external_id"),
        ('{"external_id": "zoe", "policy": {"paused": true, "paused": false}}', "body.paused"),
        ('{"external_id": NaN}', "body: JSON has no NaN"),
    ],
)
def test_json_that_says_a_thing_twice_is_refused(world: World, body: str, where: str) -> None:
    before = num_rows(world, UserRow)
    response = world.application.request(
        "POST", "/v1/users", content=body, headers={"Content-Type": "application/json"}
    )
    assert assert_error(response, 422, "invalid_request")["message"].startswith(where)
    assert num_rows(world, UserRow) == before


def test_doubled_key_deep_in_a_large_batch_is_refused(world: World) -> None:
    """A large document is parsed in a thread, by the same rules."""
    events = [world.rating(f"e{i}", note="x" * 100) for i in range(500)]
    text = json.dumps({"events": events}).replace('"event_id": "e499"', '"event_id": "e499", "event_id": "other"')
    assert len(text) > bodies.THREAD_BYTES
    response = world.application.request(
        "POST", "/v1/feedback", content=text, headers={"Content-Type": "application/json"}
    )
    assert "body.event_id: the key is in the object twice" in assert_error(response, 422, "invalid_request")["message"]


def test_query_is_refused_by_name(world: World) -> None:
    cases = {
        "/v1/users?limits=1": "query.limits: is not known here; known: 'application', 'cursor', 'external_id', 'limit'",
        "/v1/users?limit=1&limit=2": "query.limit: is given 2 times",
        "/v1/users/ada?verbose=1": "query.verbose: is not known here; known: 'wait_for', 'wait_s'",
        "/v1/users/ada/exclusions?verbose=1": "query.verbose: is not known here; known: 'cursor', 'limit'",
        "/v1/users/ada/match?verbose=1": "query.verbose: is not known here; known: none",
        "/v1/jobs?State=dead": "query.State: is not known here",
    }
    for path, message in cases.items():
        error = assert_error(world.application.request("GET", path), 422, "invalid_request")
        assert error["message"].startswith(message), path
    post = world.application.request("POST", "/v1/users?dry_run=1", json={"external_id": "zoe"})
    assert "query.dry_run" in assert_error(post, 422, "invalid_request")["message"]
    assert world.application.get("/v1/users", limit=1).status_code == 200


def test_monitors_may_add_what_they_like(client: TestClient) -> None:
    assert [client.get(f"{path}?t=1").status_code for path in ("/healthz", "/readyz", "/metrics")] == [200] * 3


def test_two_keys_in_one_request_are_refused(world: World) -> None:
    keys = [("Authorization", f"Bearer {world.application.token}"), ("Authorization", f"Bearer {world.admin.token}")]
    response = world.client.get("/v1/users", headers=keys)
    assert "2 headers 'Authorization'" in assert_error(response, 401, "unauthenticated")["message"]


# --- bodies


BODIES = {
    "curl's default": ({"Content-Type": "application/x-www-form-urlencoded"}, "application/x-www-form-urlencoded"),
    "text": ({"Content-Type": "text/plain; charset=utf-8"}, "text/plain"),
    "nonsense": ({"Content-Type": "json"}, "'json'"),
    "none": ({}, "no content type"),
    "gzip": ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, "content encoding 'gzip'"),
}


@pytest.mark.parametrize(("headers", "named"), BODIES.values(), ids=BODIES.keys())
def test_body_of_another_kind_is_refused_by_name(world: World, headers: dict[str, str], named: str) -> None:
    data = b'{"external_id": "zoe"}'
    if "Content-Encoding" in headers:
        data = gzip.compress(data)
    response = world.application.request("POST", "/v1/users", content=data, headers=headers)
    assert named in assert_error(response, 415, "unsupported_media_type")["message"]


@pytest.mark.parametrize("charset", ["latin-1", "utf-16", "windows-1252", "nonsense"])
def test_json_in_another_charset_is_refused(world: World, charset: str) -> None:
    """These bytes are UTF-8 too, where they mean something else."""
    kind = {"Content-Type": f"application/json; charset={charset}"}
    answer = world.application.request("POST", "/v1/users", content=b'{"external_id": "z\xc3\xa9"}', headers=kind)
    assert f"charset '{charset}'" in assert_error(answer, 415, "unsupported_media_type")["message"]
    assert world.application.get("/v1/users", external_id="zé").json()["items"] == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Content-Type", ["application/json", "text/plain"]),
        ("Content-Type", ["application/json", "application/json"]),
        ("Content-Encoding", ["identity", "gzip"]),
    ],
)
def test_header_that_says_twice_what_the_body_is_is_refused(world: World, name: str, values: list[str]) -> None:
    kind = [] if name == "Content-Type" else [("Content-Type", "application/json")]
    key = ("Authorization", f"Bearer {world.application.token}")
    answer = world.client.request(
        "POST",
        "/v1/users",
        content=b'{"external_id": "zoe"}',
        headers=[key, *kind, *((name, value) for value in values)],
    )
    assert f"header.{name}: is given 2 times" in assert_error(answer, 422, "invalid_request")["message"]


@pytest.mark.parametrize("query", ["external_id=%FF", "external_id=a%ED%A0%80", "%E9=1", "external_id=%C0%AF"])
def test_query_that_is_no_utf8_is_refused(world: World, query: str) -> None:
    answer = world.application.request("GET", f"/v1/users?{query}")
    assert "query: is not UTF-8" in assert_error(answer, 422, "invalid_request")["message"]


def test_path_that_is_no_utf8_names_nobody(world: World) -> None:
    """It would be read as U+FFFD, which is a name."""
    assert world.application.post("/v1/users", {"external_id": "\ufffd"}).status_code == 201
    assert world.application.get("/v1/users/%EF%BF%BD").status_code == 200
    answer = world.application.get("/v1/users/%ff")
    assert "path: is not UTF-8: byte 11 is 0xff" in assert_error(answer, 422, "invalid_request")["message"]


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "application/vnd.api+json"])
def test_json_by_its_names_is_read(world: World, kind: str) -> None:
    response = world.application.request(
        "POST", "/v1/users", content=b'{"external_id": "zoe"}', headers={"Content-Type": kind}
    )
    assert response.status_code == 201


def test_bare_list_is_told_the_object(world: World) -> None:
    response = world.application.post("/v1/feedback", [world.rating()])
    message = assert_error(response, 422, "invalid_request")["message"]
    assert message == 'body: an object is needed, not a list, e.g. {"events": [...]}'
    assert "not a list" in world.application.post("/v1/users", []).json()["detail"]


def test_without_a_valid_key_no_body_is_parsed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def parsed(_: bytes) -> Any:
        raise AssertionError("a body was parsed for nobody")

    monkeypatch.setattr(bodies, "_parse", parsed)
    huge = b'{"events": [' + b"1," * 3_000_000 + b"1]}"
    for headers in ({}, {"Authorization": "Bearer paa_" + "x" * 43}, {"Authorization": "Basic abc"}):
        headers = headers | {"Content-Type": "application/json"}
        response = world.client.post("/v1/feedback", content=huge, headers=headers)
        assert_error(response, 401, "unauthenticated")
    forbidden = world.callers["expert"].request(
        "POST", "/v1/feedback", content=huge, headers={"Content-Type": "application/json"}
    )
    assert_error(forbidden, 403, "forbidden")


# --- behind a prefix


def test_limits_and_headers_are_the_same_behind_a_prefix(settings: Settings) -> None:
    with TestClient(create_app(settings), root_path="/aesthetics") as client:
        world = World(client)
        for prefix in ("/aesthetics", ""):  # as uvicorn gives the path, and as a proxy that strips it
            files = {"file": ("a.jpg", jpeg(100, (700, 700)) + bytes(300_000), "image/jpeg")}
            assert world.application.request("POST", f"{prefix}/v1/images", files=files).status_code in (200, 201)
            events = {"events": [world.rating(f"e{i}", note="x" * 3000) for i in range(500)]}
            assert world.application.post(f"{prefix}/v1/feedback", events).status_code == 200
            assert world.application.get(f"{prefix}/v1/users", limit=1).headers["Cache-Control"] == "no-store"
            assert "Cache-Control" not in world.client.get(f"{prefix}/healthz").headers


# --- HEAD, and what answers say about limits


def test_head_is_get_without_the_body(world: World) -> None:
    gets = [
        (context.path, context.original_route)
        for context in iter_route_contexts(world.app.routes)
        if "GET" in (context.methods or ())
    ]
    assert len(gets) > 25
    for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/v1/users", f"/v1/users/{world.ada}"):
        get, head = (world.application.request(method, path) for method in ("GET", "HEAD"))
        assert (head.status_code, head.content) == (get.status_code, b"") == (200, b""), path
        assert head.headers["Content-Type"] == get.headers["Content-Type"], path
    assert world.nobody.request("HEAD", "/v1/users").status_code == 401
    assert world.application.request("HEAD", "/v1/users/nobody").status_code == 404
    assert isinstance(OpenToAll.scopes, frozenset)


@pytest.mark.parametrize(
    ("method", "path", "methods"),
    [
        ("DELETE", "/v1/users", "GET, HEAD, POST"),
        ("OPTIONS", "/v1/users/ada", "DELETE, GET, HEAD"),
        ("GET", "/v1/predictions", "POST"),
    ],
)
def test_a_wrong_method_is_answered_with_all_that_there_are(world: World, method: str, path: str, methods: str) -> None:
    answer = world.application.request(method, path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, methods)


def test_answers_say_what_is_left_of_the_limit(settings: Settings) -> None:
    limited = settings.model_copy(update={"user_requests_per_minute": 5})
    with TestClient(app_with(limited)) as client:
        world = World(client)
        answers = [world.user.get("/v1/users/ada") for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["4", "3", "2", "1", "0", "0"]
        assert {answer.headers["RateLimit-Limit"] for answer in answers} == {"5"}
        assert {answer.headers["RateLimit-Policy"] for answer in answers} == {"5;w=60"}
        assert [int(answer.headers["RateLimit-Reset"]) for answer in answers[:2]] == [12, 24]
        assert "RateLimit-Limit" not in client.get("/healthz").headers


# --- unknown keys


def test_unknown_keys_are_counted_and_known_keys_go_on(settings: Settings) -> None:
    limited = settings.model_copy(update={"failed_attempts_per_minute": 3})
    with TestClient(app_with(limited)) as client:
        world = World(client)
        assert world.user.get("/v1/users/ada").status_code == 200
        world.context.keys.forget()
        guesses = [client.get("/v1/users", headers={"Authorization": f"Bearer paa_{i}"}) for i in range(5)]
        assert [answer.status_code for answer in guesses] == [401] * 3 + [429] * 2
        assert 1 <= int(guesses[-1].headers["Retry-After"]) <= 60
        assert world.user.get("/v1/users/ada").status_code == 200, "it was valid a moment ago"


@pytest.mark.parametrize("limit", ["1_0", "١", "1.0", " 5"])
def test_numbers_in_a_query_are_not_guessed(world: World, limit: str) -> None:
    refused = world.application.get("/v1/users", limit=limit)
    assert refused.status_code == 422
    assert "is not a whole number" in refused.text
    assert world.application.get("/v1/users/ada/adapters/1_0").status_code in (404, 405, 422)


def test_key_that_is_none_is_looked_up_once_a_second_and_counted_each_time(settings: Settings) -> None:
    limited = settings.model_copy(update={"failed_attempts_per_minute": 4})
    token = "paa_" + "x" * 43
    with TestClient(app_with(limited)) as client:
        world = World(client)
        asked: list[str] = []
        event.listen(world.database.engine, "begin", lambda _connection: asked.append("begin"))
        answers = [client.get("/v1/users", headers={"Authorization": f"Bearer {token}"}) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [401] * 4 + [429] * 2
        assert len(asked) <= 1, asked


# --- queries and forms: nothing is guessed


@pytest.mark.parametrize(
    ("path", "name"),
    [("users", "application"), ("users", "external_id"), ("images", "user"), ("images", "search"),
     ("images", "rated_by"), ("images", "created_since"), ("feedback", "user"), ("feedback", "kind"),
     ("jobs", "user"), ("jobs", "state"), ("experts", "domain"), ("pseudo-labels", "tool"), ("users", "cursor"),
     ("audit/verification", "expected")],
)  # fmt: skip
@pytest.mark.parametrize("value", ["", " "])
def test_condition_that_is_empty_is_refused_and_lists_nothing(world: World, path: str, name: str, value: str) -> None:
    error = assert_error(world.admin.get(f"/v1/{path}", **{name: value}), 422, "invalid_request")
    assert error["message"] == f"query.{name}: is empty: leave it out, or give a value"


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ({"user": "ada", "shared": "true"}, "user and shared=true exclude each other"),
        ({"rated_by": "ada", "unrated_by": "ada"}, "name the same user"),
        ({"name": "a.jpg", "name_prefix": "b"}, "name and name_prefix exclude each other"),
    ],
)
def test_conditions_that_no_image_meets_are_refused(world: World, query: dict[str, str], why: str) -> None:
    assert why in assert_error(world.application.get("/v1/images", **query), 400, "invalid_input")["message"]


def form(*parts: bytes, charset: str = "") -> dict[str, Any]:
    body = b"".join(b"--sep\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--sep--\r\n"
    return {"content": body, "headers": {"Content-Type": f"multipart/form-data; boundary=sep{charset}"}}


PICTURE = b'name="file"; filename="a.jpg"\r\n\r\n' + jpeg()


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (b"filename*=UTF-8''caf%C3%A9.jpg", "caf\u00e9.jpg"),
        (b"filename*=iso-8859-1'fr'caf%E9.jpg", "caf\u00e9.jpg"),
        (b"filename=\"plain.jpg\"; filename*=UTF-8''caf%C3%A9.jpg", "plain.jpg"),
        (b"filename*=UTF-8''a%2Fb%22.jpg", "b'.jpg"),
    ],
)
def test_file_is_one_whose_name_is_given_as_older_clients_do(world: World, disposition: bytes, name: str) -> None:
    """`requests` did so for names that are not ASCII: the file was taken for a field that is not UTF-8."""
    part = b'name="file"; ' + disposition + b"\r\n\r\n" + jpeg(90)
    answer = world.application.request("POST", "/v1/images", **form(part))
    assert (answer.status_code, answer.json().get("name")) == (201, name), answer.text


@pytest.mark.parametrize(
    ("parts", "where"),
    [
        ((PICTURE, b'name="theme"\r\n\r\ncaf\xe9'), "body.theme: is not UTF-8: byte 4 is 0xe9"),
        ((b'name="file"; filename="caf\xe9.jpg"\r\n\r\n' + jpeg(),), "header.Content-Disposition: is not UTF-8"),
        ((PICTURE, b'name="th\xe9me"\r\n\r\nx'), "header.Content-Disposition: is not UTF-8"),
    ],
)
def test_form_that_is_not_utf8_is_refused_and_not_read_as_latin1(
    world: World, parts: tuple[bytes, ...], where: str
) -> None:
    answer = world.application.request("POST", "/v1/images", **form(*parts))
    assert where in assert_error(answer, 422, "invalid_request")["message"]
    assert len(world.application.get("/v1/images").json()["items"]) == len(world.images)


def test_form_in_another_encoding_is_refused(world: World) -> None:
    answer = world.application.request("POST", "/v1/images", **form(PICTURE, charset="; charset=latin-1"))
    assert "send the form in UTF-8" in assert_error(answer, 415, "unsupported_media_type")["message"]
    answer = world.application.request("POST", "/v1/images", **form(PICTURE, charset="; charset=UTF-8"))
    assert answer.status_code == 201


# --- what a document holds


ID = "0199f7c4-8f3e-7c55-b7a0-3f3a5d7f0001"
LARGE = {
    "numbers": ("/v1/feedback", '{"events": [' + "1," * 150_000 + "1]}"),
    "lists": ("/v1/feedback", '{"events": [' + "[]," * 100_000 + "[]]}"),
    "objects": ("/v1/predictions", '{"items": [' + "{}," * 60_000 + "{}]}"),
    "texts": ("/v1/rankings", '{"user": "ada", "images": [' + f'"{ID}",' * 110_000 + f'"{ID}"]}}'),
}


@pytest.mark.parametrize(("path", "body"), LARGE.values(), ids=LARGE.keys())
def test_document_of_too_many_values_is_refused_before_it_is_read(world: World, path: str, body: str) -> None:
    """Python's reader of JSON holds the interpreter: others would wait for seconds."""
    response = world.application.request("POST", path, content=body, headers={"Content-Type": "application/json"})
    assert "more than 100000 values" in assert_error(response, 413, "too_large")["message"]


def test_batch_with_long_texts_is_no_large_document(world: World) -> None:
    events = [world.rating(f"e{i}", note=", " * 1_500) for i in range(300)]
    assert world.application.post("/v1/feedback", {"events": events}).status_code == 200


def test_object_of_too_many_keys_is_refused(world: World) -> None:
    body = {f"k{i}": 1 for i in range(1_200)}
    error = assert_error(world.application.post("/v1/users", body), 422, "invalid_request")
    assert error["message"] == "body: an object has 1200 keys; at most 1000"


def test_first_wrong_one_of_many_items_is_told(world: World) -> None:
    error = assert_error(world.application.post("/v1/predictions", {"items": [1] * 30_000}), 422, "invalid_request")
    assert error["message"] == "body.items.0: an object is needed, not a number"
    assert len(error["details"]) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("null", "body: an object is needed, not null"),
        ('"zoe"', "body: an object is needed, not a text"),
        ("3", "body: an object is needed, not a number"),
        ('{"external_id": "zoe", "policy": [1]}', "body.policy: an object is needed, not a list"),
        ('{"external_id": ""}', "body.external_id: is empty"),
    ],
)
def test_refusals_are_in_words_of_the_caller(world: World, body: str, message: str) -> None:
    response = world.application.request(
        "POST", "/v1/users", content=body, headers={"Content-Type": "application/json"}
    )
    assert assert_error(response, 422, "invalid_request")["message"] == message


def test_file_that_is_a_text_is_told(world: World) -> None:
    response = world.application.request("POST", "/v1/images", files=[("file", (None, "a.jpg"))])
    assert assert_error(response, 422, "invalid_request")["message"] == "body.file: a file is needed, with a file name"


# --- who sends what is refused sees why


@pytest.mark.parametrize("caller", ["application", "nobody", "unknown", "expert"])
@pytest.mark.parametrize("path", ["/v1/images", "/v1/feedback", "/v1/nothing-here", "/healthz"])
def test_refused_body_is_read_away(world: World, caller: str, path: str) -> None:
    """A connection that is closed while the client sends is reset: the client sees no answer."""
    headers = world.callers[caller].headers if caller in world.callers else {}
    if caller == "unknown":
        headers = {"Authorization": "Bearer paa_" + "x" * 43}
    sent = 0

    def parts() -> Any:
        nonlocal sent
        for _ in range(30):
            sent += 2**20
            yield bytes(2**20)

    response = world.client.post(path, content=parts(), headers={"Content-Type": "text/plain"} | headers)
    assert response.status_code in (401, 403, 404, 405, 413, 415)
    assert sent == 30 * 2**20


def test_requests_without_a_key_count_as_failed_attempts(settings: Settings) -> None:
    limited = settings.model_copy(update={"failed_attempts_per_minute": 3})
    with TestClient(create_app(limited)) as client:
        world = World(client)
        assert world.user.get("/v1/users/ada").status_code == 200
        answers = [client.get("/v1/users", headers=headers).status_code for headers in ({}, {"Authorization": "x"}) * 3]
        assert answers == [401] * 3 + [429] * 3
        assert world.user.get("/v1/users/ada").status_code == 200


def test_what_no_key_looks_like_asks_no_database(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def authenticate(_: str) -> Any:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(world.context.keys, "authenticate", authenticate)
    for token in ("paa_short", "x" * 47, "paa_" + "x" * 44, "paa_" + "é" * 43):
        response = world.client.get("/v1/users", headers={"Authorization": f"Bearer {token}".encode()})
        assert_error(response, 401, "unauthenticated")


def test_home_leads_to_the_studio_behind_a_prefix(settings: Settings) -> None:
    with TestClient(create_app(settings), root_path="/aesthetics") as client:
        assert client.get("/", follow_redirects=False).headers["location"] == "/aesthetics/studio/"
