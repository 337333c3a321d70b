"""Routes that are called without the framework's search for a route answer as they would with it."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI

from paaplus.api.direct import DirectMiddleware, direct_routes
from tests.api.conftest import World, built_app

WRONG: list[Any] = [
    None,
    {},
    [],
    "text",
    {"items": []},
    {"users": ["ada"], "images": ["none"], "more": 1},
    {"users": ["nobody"], "images": ["0199f7c4-8f3e-7c55-b7a0-3f3a5d7f0001"]},
    {"event_id": "e", "user": "ada", "kind": "nothing"},
    {"events": []},
]


def routes_of(app: FastAPI) -> dict[tuple[str, str], Any]:
    """Those of all nouns, which are loaded for it."""
    assert app.routes
    [options] = [each.kwargs for each in app.user_middleware if each.cls is DirectMiddleware]
    return options["routes"]  # type: ignore[no-any-return]


def test_scores_postings_and_audiences_are_called_directly() -> None:
    assert set(routes_of(built_app())) == {
        ("POST", "/v1/predictions"), ("POST", "/v1/feedback"), ("POST", "/v1/audiences"),
    }  # fmt: skip
    assert direct_routes([]) == {}


@pytest.mark.parametrize("path", ["/v1/predictions", "/v1/feedback"])
@pytest.mark.parametrize("body", WRONG, ids=repr)
def test_wrong_bodies_get_the_same_answer_either_way(
    world: World, monkeypatch: pytest.MonkeyPatch, path: str, body: Any
) -> None:
    direct = world.application.post(path, body)
    routes = routes_of(world.client.app)  # type: ignore[arg-type]
    found = dict(routes)
    routes.clear()
    try:
        searched = world.application.post(path, body)
    finally:
        routes.update(found)
    assert direct.status_code >= 400
    assert (direct.status_code, direct.json()) == (searched.status_code, searched.json())
    varying = {"x-request-id", "ratelimit-remaining", "ratelimit-reset"}
    assert {name: direct.headers[name] for name in set(direct.headers) - varying} == {
        name: searched.headers[name] for name in set(searched.headers) - varying
    }
