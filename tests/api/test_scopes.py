"""A key opens only its own doors: every route, with every kind of key and with none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.testclient import TestClient

from api.app import create_app
from api.dependencies import OpensTo, OpenToAll
from paaplus.db.tables.governance import KeyScope
from paaplus.db.tables.jobs import JobState
from paaplus.db.tables.models import AdapterState
from paaplus.settings import Settings
from tests.api.conftest import World, jpeg
from tests.factories import make_job, make_user

PUBLIC: frozenset[KeyScope] = frozenset()
USER = frozenset({KeyScope.USER, KeyScope.APPLICATION, KeyScope.ADMIN})
APPLICATION = frozenset({KeyScope.APPLICATION, KeyScope.ADMIN})
ADMIN = frozenset({KeyScope.ADMIN})

REASON = {"reason": "because"}
# What the key of another application gets: the thing is not there, or nothing of ours is shown.
NOT_THERE, ITS_OWN = "not there", "its own"

Request = tuple[str, dict[str, Any]]


def at(path: str, body: Any = None, **options: Any) -> Request:
    return path, (options | {"json": body} if body is not None else options)


def predict(world: World) -> Request:
    return at("/v1/predictions", {"items": [{"user": str(world.ada), "image": str(world.images[0])}]})


def rate(world: World) -> Request:
    return at("/v1/feedback", world.rating(f"e{id(object())}", user=str(world.ada)))


def upload(world: World) -> Request:
    files = {"file": ("a.jpg", jpeg(), "image/jpeg")}
    return at("/v1/images", files=files, data={"user": str(world.ada)})


def new_user(world: World) -> Request:
    return at("/v1/users", {"external_id": "zoe", "application": "test-app"})


def somebody_to_erase(world: World) -> Request:
    with world.database.session() as session:
        return at(f"/v1/users/{make_user(session).id}")


def job_of_ada(world: World) -> Request:
    with world.database.session() as session:
        return at(f"/v1/jobs/{make_job(session, user_id=world.ada, state=JobState.SUCCEEDED).id}")


def key_to_revoke(world: World) -> Request:
    return at(f"/v1/keys/{world.admin.post('/v1/keys', {'name': 'k', 'scope': 'admin'}).json()['id']}")


def key_to_rotate(world: World) -> Request:
    return at(f"{key_to_revoke(world)[0]}/rotate")


def of_ada(tail: str, body: Any = None) -> Callable[[World], Request]:
    return lambda world: at(f"/v1/users/{world.ada}{tail}", body)


def promote(world: World) -> Request:
    row = world.adapter(world.ada, state=AdapterState.CANDIDATE)
    return at(f"/v1/users/{world.ada}/adapters/{row.number}/promote", REASON)


def unpin(world: World) -> Request:
    world.admin.post(f"/v1/users/{world.ada}/adapters/1/pin", REASON)
    return at(f"/v1/users/{world.ada}/unpin", REASON)


# Every route: whom it opens to, what to ask, and what another application's key gets.
ROUTES: dict[tuple[str, str], tuple[frozenset[KeyScope], Callable[[World], Request], str]] = {
    ("GET", "/healthz"): (PUBLIC, lambda w: at("/healthz"), ITS_OWN),
    ("GET", "/readyz"): (PUBLIC, lambda w: at("/readyz"), ITS_OWN),
    ("GET", "/metrics"): (PUBLIC, lambda w: at("/metrics"), ITS_OWN),
    ("POST", "/v1/users"): (APPLICATION, new_user, "forbidden"),
    ("GET", "/v1/users"): (APPLICATION, lambda w: at("/v1/users"), ITS_OWN),
    ("GET", "/v1/users/{user}"): (USER, of_ada(""), NOT_THERE),
    ("PUT", "/v1/users/{user}/policy"): (APPLICATION, of_ada("/policy", {}), NOT_THERE),
    ("PUT", "/v1/users/{user}/sharing"): (USER, of_ada("/sharing", {"shares_taste": True}), NOT_THERE),
    ("GET", "/v1/users/{user}/export"): (USER, of_ada("/export"), NOT_THERE),
    ("DELETE", "/v1/users/{user}"): (APPLICATION, somebody_to_erase, NOT_THERE),
    ("POST", "/v1/images"): (USER, upload, NOT_THERE),
    ("GET", "/v1/images"): (USER, lambda w: at("/v1/images"), ITS_OWN),
    ("GET", "/v1/images/{image_id}"): (USER, lambda w: at(f"/v1/images/{w.images[0]}"), NOT_THERE),
    ("POST", "/v1/feedback"): (USER, rate, NOT_THERE),
    ("POST", "/v1/predictions"): (USER, predict, NOT_THERE),
    ("GET", "/v1/users/{user}/adapters"): (USER, of_ada("/adapters"), NOT_THERE),
    ("GET", "/v1/users/{user}/adapters/compare"): (USER, of_ada("/adapters/compare?a=1&b=1"), NOT_THERE),
    ("GET", "/v1/users/{user}/adapters/{number}"): (USER, of_ada("/adapters/1"), NOT_THERE),
    ("GET", "/v1/users/{user}/history"): (USER, of_ada("/history"), NOT_THERE),
    ("GET", "/v1/users/{user}/metrics"): (USER, of_ada("/metrics"), NOT_THERE),
    ("GET", "/v1/users/{user}/exclusions"): (USER, of_ada("/exclusions"), NOT_THERE),
    ("POST", "/v1/users/{user}/adapters/{number}/promote"): (ADMIN, promote, "forbidden"),
    ("POST", "/v1/users/{user}/adapters/{number}/pin"): (ADMIN, of_ada("/adapters/1/pin", REASON), "forbidden"),
    ("POST", "/v1/users/{user}/unpin"): (ADMIN, unpin, "forbidden"),
    ("POST", "/v1/users/{user}/rollback"): (ADMIN, of_ada("/rollback", REASON | {"to": 0}), "forbidden"),
    ("POST", "/v1/users/{user}/retrain"): (ADMIN, of_ada("/retrain", REASON), "forbidden"),
    ("POST", "/v1/users/{user}/exclusions/release"): (ADMIN, of_ada("/exclusions/release", REASON), "forbidden"),
    ("GET", "/v1/jobs"): (USER, lambda w: at("/v1/jobs"), ITS_OWN),
    ("GET", "/v1/jobs/{job_id}"): (USER, job_of_ada, NOT_THERE),
    ("GET", "/v1/base-models"): (USER, lambda w: at("/v1/base-models"), ITS_OWN),
    ("POST", "/v1/keys"): (ADMIN, lambda w: at("/v1/keys", {"name": "k", "scope": "admin"}), "forbidden"),
    ("GET", "/v1/keys"): (ADMIN, lambda w: at("/v1/keys"), "forbidden"),
    ("DELETE", "/v1/keys/{key_id}"): (ADMIN, key_to_revoke, "forbidden"),
    ("POST", "/v1/keys/{key_id}/rotate"): (ADMIN, key_to_rotate, "forbidden"),
    ("GET", "/v1/audit"): (ADMIN, lambda w: at("/v1/audit"), "forbidden"),
    ("GET", "/v1/audit/verification"): (ADMIN, lambda w: at("/v1/audit/verification"), "forbidden"),
}
SCOPE_OF = {
    "admin": KeyScope.ADMIN,
    "application": KeyScope.APPLICATION,
    "other": KeyScope.APPLICATION,
    "user": KeyScope.USER,
    "expert": KeyScope.EXPERT,
}


def declared_guards(app: FastAPI) -> dict[tuple[str, str], list[frozenset[KeyScope]]]:
    """What each route of the application declares, found in its tree of dependencies."""
    declared = {}
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if not isinstance(route, APIRoute):
            continue
        todo, guards = [context.dependant], []
        while todo:
            dependant = todo.pop()
            todo += dependant.dependencies
            if isinstance(dependant.call, OpensTo | OpenToAll):
                guards.append(dependant.call.scopes)
        for method in route.methods:
            declared[method, context.path] = guards
    return declared


def test_every_route_declares_once_whom_it_opens_to(settings: Settings) -> None:
    declared = declared_guards(create_app(settings))
    assert {route: guards for route, guards in declared.items() if len(guards) != 1} == {}
    assert {route: guards[0] for route, guards in declared.items()} == {
        route: scopes for route, (scopes, _, _) in ROUTES.items()
    }


def test_routes_without_a_key_are_these_and_no_others(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    open_paths = {
        path
        for path, methods in document["paths"].items()
        if not any(operation.get("security") for operation in methods.values())
    }
    assert open_paths == {"/healthz", "/readyz", "/metrics"}
    for path in ("/redoc", "/docs/oauth2-redirect", "/v1", "/"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize("caller", ["nobody", *SCOPE_OF])
def test_each_key_opens_what_its_scope_says(world: World, caller: str) -> None:
    world.adapter(world.ada)
    wrong = {}
    for (method, template), (scopes, build, foreign) in ROUTES.items():
        path, options = build(world)
        who = world.nobody if caller == "nobody" else world.callers[caller]
        response = who.request(method, path, **options)
        if scopes == PUBLIC:
            expected = response.status_code == 200
        elif caller == "nobody":
            expected = response.status_code == 401
        elif SCOPE_OF[caller] not in scopes:
            expected = response.status_code == 403
        elif caller == "other" and foreign != ITS_OWN:
            expected = response.status_code == {NOT_THERE: 404, "forbidden": 403}[foreign]
        elif caller == "other" and template == "/v1/base-models":
            expected = response.status_code == 200
        elif caller == "other":
            ours = {str(world.ada), str(world.bob), *map(str, world.images)}
            expected = response.status_code == 200 and not any(name in response.text for name in ours)
        else:
            expected = response.status_code in (200, 201, 202, 204)
        if not expected:
            wrong[method, template] = (response.status_code, response.text[:300])
    assert wrong == {}


USER_ROUTES = [(m, t) for (m, t), (scopes, _, _) in ROUTES.items() if "{user}" in t and KeyScope.USER in scopes]


def test_user_key_sees_no_other_user_on_any_route(world: World) -> None:
    world.adapter(world.bob)
    for method, template in USER_ROUTES:
        for name in ("bob", str(world.bob), str(world.eve), "test-app/bob"):
            path = template.replace("{user}", name).replace("{number}", "1")
            body = {"shares_taste": True} if method == "PUT" else None
            response = world.user.request(method, path, params={"a": 1, "b": 1}, json=body)
            assert response.status_code == 404, (path, response.text)
    listed = world.user.get("/v1/jobs").json()["items"]
    assert all(job["user_id"] == str(world.ada) for job in listed)


def test_header_that_holds_no_key_is_unauthenticated(world: World) -> None:
    for header in ("", "Bearer", "Bearer ", "Basic YTpi", "Bearer wrong", "Bearer paa_\xff", "bearer", "Bearer a b"):
        response = world.client.get("/v1/images", headers={"Authorization": header.encode("latin-1")})
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert response.json()["error"]["code"] == "unauthenticated"


def test_key_is_looked_at_before_the_request(world: World) -> None:
    """What is wrong with a body is nobody's business who may not send it."""
    assert world.nobody.post("/v1/users", {"nonsense": 1}).status_code == 401
    assert world.user.post("/v1/users", {"nonsense": 1}).status_code == 403
    assert world.application.post("/v1/users", {"nonsense": 1}).status_code == 422
