"""Every failure has the same shape, the right status, and tells nothing that it should not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa
import structlog
from starlette.testclient import TestClient

from paaplus import errors
from paaplus.services.users import users as users_service
from tests.api.conftest import World
from tests.api.test_health import take_database_away


def assert_error(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body = response.json()
    assert response.headers["Content-Type"] == "application/problem+json"
    assert set(body) == {"type", "title", "status", "detail", "error"}
    assert (body["status"], body["detail"]) == (status, body["error"]["message"])
    assert body["type"] == f"urn:paaplus:error:{code}"
    assert body["title"]
    assert set(body["error"]) <= {"code", "message", "details"}
    assert body["error"]["code"] == code
    assert body["error"]["message"]
    return dict(body["error"])


def test_every_family_has_its_status() -> None:
    expected = {
        errors.InvalidInput: 400,
        errors.TooLarge: 413,
        errors.Unauthenticated: 401,
        errors.Forbidden: 403,
        errors.NotFound: 404,
        errors.Conflict: 409,
        errors.Unavailable: 503,
        errors.UndefinedMetric: 500,
        errors.LeaseLost: 500,
    }
    assert {family: family.http_status for family in expected} == expected
    assert errors.TooMany.http_status == 429
    assert errors.Damaged.http_status == 503, "as the class above it"


def test_paths_and_methods_that_do_not_exist(client: TestClient) -> None:
    assert_error(client.get("/v1/nothing"), 404, "not_found")
    assert_error(client.patch("/v1/users"), 405, "method_not_allowed")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/surveys/a%00b?application=test-app",
        "/v1/surveys/a%00b/encoders?application=test-app",
        "/v1/users/ADA/survey-answers/a%00b",
        "/v1/tools/generic/revisions?application=a%00b",
    ],
)
def test_name_that_no_database_can_hold_is_refused(world: World, path: str) -> None:
    """PostgreSQL has no NUL in its texts, and says so with an error of its own."""
    assert_error(world.admin.request("GET", path.replace("ADA", str(world.ada))), 422, "invalid_request")


def test_request_that_does_not_fit_names_the_place_and_not_the_value(world: World) -> None:
    error = assert_error(
        world.application.post("/v1/users", {"external_id": "ada", "policy": {"paused": "secret-value"}}),
        422,
        "invalid_request",
    )
    assert error["details"][0]["loc"] == ["body", "policy", "paused"]
    assert "secret-value" not in json.dumps(error)


RAW_BODIES = {
    "no json": b"{",
    "empty": b"",
    "not a number": b'{"external_id": NaN}',
    "deep": b"[" * 30_000,
    "deep object": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "huge number": b'{"external_id": ' + b"9" * 5_000 + b"}",
    "not utf-8": b'{"external_id": "\xff\xfe"}',
    "duplicate keys": b'{"external_id": 1, "external_id": 2}',
}


def test_bytes_that_are_no_request_are_refused(world: World) -> None:
    for name, content in RAW_BODIES.items():
        response = world.application.request(
            "POST", "/v1/users", content=content, headers={"Content-Type": "application/json"}
        )
        assert response.status_code in (400, 422), name
        assert_error(response, response.status_code, "invalid_request")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_json_that_is_not_utf8_is_refused_before_it_is_counted(world: World, encoding: str) -> None:
    """The bytes of U+2200 look like a quotation mark: the values after it would be counted as a text."""
    many = '["\u2200' + '", "\u2200' * 9 + '"' + ",1" * 110_000 + "]"
    for text in ('{"external_id": "zoe"}', many):
        response = world.application.request(
            "POST", "/v1/users", content=text.encode(encoding), headers={"Content-Type": "application/json"}
        )
        assert_error(response, 415, "unsupported_media_type")
        assert "sent in UTF-8" in response.json()["detail"]


def test_body_above_the_limit_is_refused(world: World) -> None:
    big = {"external_id": "x" * 1_100_000}
    assert_error(world.application.post("/v1/users", big), 413, "too_large")
    assert_error(world.nobody.post("/v1/users", big), 401, "unauthenticated")  # the key comes first

    def chunks() -> Any:
        for _ in range(110):
            yield b" " * 10_000

    chunked = world.application.request(
        "POST", "/v1/users", content=chunks(), headers={"Content-Type": "application/json"}
    )
    assert_error(chunked, 413, "too_large")
    events = {"events": [world.rating(f"e{i}", note="x" * 90_000) for i in range(100)]}
    assert_error(world.application.post("/v1/feedback", events), 413, "too_large")
    assert_error(world.user.post("/v1/feedback", events), 413, "too_large")
    fewer = {"events": [world.rating(f"e{i}", note="x" * 90_000) for i in range(30)]}
    assert world.application.post("/v1/feedback", fewer).status_code != 413
    assert_error(world.user.post("/v1/feedback", fewer), 413, "too_large")  # a person's batch is smaller


def test_database_that_is_away_is_unavailable_and_comes_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.application.get("/v1/users/ada")  # the key is known for a while
    take_database_away(world)
    response = world.application.get("/v1/users/ada")
    assert_error(response, 503, "unavailable")
    assert response.headers["Retry-After"] == "5"


def test_nothing_is_answered_before_it_is_committed(world: World) -> None:
    """A commit that fails is a failed request, never a 2xx with nothing behind it."""

    def lost(_session: Any) -> None:
        raise sa.exc.OperationalError("commit", {}, Exception("connection lost"))

    acts = [
        ("POST", "/v1/users", {"external_id": "zoe"}),
        ("PUT", "/v1/users/ada/policy", {"paused": True}),
        ("POST", "/v1/feedback", world.rating()),
        ("DELETE", "/v1/users/ada", None),
    ]
    world.application.get("/v1/users/ada")  # the key is known for a while
    sa.event.listen(sa.orm.Session, "before_commit", lost)
    try:
        for method, path, body in acts:
            assert_error(world.application.request(method, path, json=body), 503, "unavailable")
    finally:
        sa.event.remove(sa.orm.Session, "before_commit", lost)
    ada = world.application.get("/v1/users/ada").json()
    assert (ada["feedback_sequence"], ada["policy_overrides"]) == (0, {})


def test_bug_of_ours_is_told_to_the_log_and_not_to_the_caller(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the inner secret")

    monkeypatch.setattr(users_service, "resolve", bug)
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        response = world.application.get("/v1/users/ada")
    error = assert_error(response, 500, "internal_error")
    assert "secret" not in error["message"]
    entry, access = logs
    assert (entry["event"], entry["error"], entry["log_level"]) == ("unexpected_error", "RuntimeError", "error")
    assert (access["event"], access["status"], access["route"]) == ("request", 500, "/v1/users/{user}")
    assert entry["request_id"] == response.headers["X-Request-ID"]


def test_unexpected_database_error_does_not_log_the_row(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(session: sa.orm.Session, *_: Any, **__: Any) -> Any:
        for _ in range(2):
            session.execute(
                sa.text("insert into users (id, application, external_id, policy, pinned, feedback_sequence, "
                        "trained_sequence, adapter_sequence, epoch, created_at) "
                        "select id, application, 'canary-9', policy, pinned, feedback_sequence, trained_sequence, "
                        "adapter_sequence, epoch, created_at from users where application = :canary"),
                {"canary": "test-app"},
            )  # fmt: skip

    monkeypatch.setattr(users_service, "resolve", broken)
    with structlog.testing.capture_logs() as logs:
        response = world.application.put("/v1/users/ada/policy", {})
    assert_error(response, 500, "internal_error")
    entry, _access = logs
    assert (entry["event"], entry["error"]) == ("unexpected_database_error", "IntegrityError")
    assert "test-app" not in str(entry)


def test_request_id_of_the_caller_is_kept_if_it_is_one(client: TestClient) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": "abc-1.2_3"}).headers["X-Request-ID"] == "abc-1.2_3"
    for given in ("", "x" * 65, "a b", "a;b", "ü".encode("latin-1")):
        answered = client.get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"]
        assert len(answered) == 32
        assert answered != given


def test_answers_are_not_to_be_guessed_at(client: TestClient) -> None:
    assert client.get("/healthz").headers["X-Content-Type-Options"] == "nosniff"
