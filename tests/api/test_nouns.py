"""The nouns of the API, which are loaded at the first request for one of their paths."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from paaplus.api.app import create_app
from paaplus.api.nouns import PATHS, Nouns, beginning
from paaplus.settings import Settings
from tests.support.databases import on_one_database


@pytest.fixture
def nouns() -> Nouns:
    return Nouns(APIRouter())


def paths_of(nouns: Nouns) -> list[str]:
    return [route.path for route in nouns._router.routes if isinstance(route, APIRoute)]


def found_by_their_beginnings(nouns: Nouns) -> Iterator[tuple[str, str]]:
    for name, routes in nouns._routes.items():
        yield from ((name, beginning(route.path)) for route in routes if isinstance(route, APIRoute))


def test_paths_are_those_of_the_routes(nouns: Nouns) -> None:
    """A path that is missing here would be answered with 404."""
    nouns.load_all()
    assert set(found_by_their_beginnings(nouns)) == {(name, path) for name, paths in PATHS.items() for path in paths}


@pytest.mark.parametrize(
    ("path", "begins"),
    [
        ("/healthz", "/healthz"),
        ("/v1/users", "/v1/users"),
        ("/v1/users/ada", "/v1/users"),
        ("/v1/users/ada/match", "/v1/users/{user}/match"),
        ("/v1/users/ada/adapters/7/promote", "/v1/users/{user}/adapters"),
        ("/v1/images/7/maps/depth", "/v1/images"),
        ("/v2/users/ada/match", "/v2/users"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_beginning_of_a_path(path: str, begins: str) -> None:
    assert beginning(path) == begins


def test_a_noun_is_added_once_in_the_order_of_all(nouns: Nouns) -> None:
    assert paths_of(nouns) == []
    nouns.load(["keys"])
    nouns.load(["jobs"])
    nouns.load(["keys"])
    some = paths_of(nouns)
    assert some == ["/v1/jobs", "/v1/jobs/{job_id}", *["/v1/keys"] * 2, "/v1/keys/{key_id}", "/v1/keys/{key_id}/rotate"]
    nouns.load_all()
    every = paths_of(nouns)
    assert [path for path in every if path in some] == some
    nouns.load_all()
    assert paths_of(nouns) == every


def test_a_path_without_a_noun_loads_none(nouns: Nouns) -> None:
    asyncio.run(nouns.load_for("/v1/nothing"))
    asyncio.run(nouns.load_for("/wp-login.php"))
    assert paths_of(nouns) == []
    asyncio.run(nouns.load_for("/v1/images/7"))
    assert {"/v1/images/{image_id}", "/v1/images/{image_id}/maps/{tool}"} <= set(paths_of(nouns))
    assert not [path for path in paths_of(nouns) if not path.startswith("/v1/images")]


def test_first_requests_for_a_noun_may_come_together(nouns: Nouns) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(nouns.load, [["users"], ["images", "maps"], ["users"], ["keys"]] * 8))
    assert len(set(map(id, nouns._router.routes))) == len(nouns._router.routes)
    assert ("/v1/users" in paths_of(nouns), "/v1/keys" in paths_of(nouns)) == (True, True)


@on_one_database
def test_a_new_process_answers_for_nouns_that_are_not_loaded(settings: Settings) -> None:
    """With the checks of all routes: a wrong method is told the right ones, and a key is asked for."""
    with TestClient(create_app(settings)) as client:
        assert client.get("/v1/jobs").status_code == 401
        wrong = client.put("/v1/webhooks")
        assert (wrong.status_code, wrong.headers["Allow"]) == (405, "GET, HEAD, POST")
        assert client.post("/v1/audiences", json={}).status_code == 401
        assert client.get("/v1/nothing").status_code == 404
        assert client.get("/", follow_redirects=False).headers["Location"] == "/studio/"
        assert "paaplus" in client.get("/studio/").text


def test_a_start_loads_what_most_processes_need_first() -> None:
    later = {"paaplus.api.users", "paaplus.api.reviews", "paaplus.services.surveys", "paaplus.studio.routes", "PIL"}
    program = f"""
import sys
from paaplus.api.app import create_app
app = create_app()
print(sorted({later} & sys.modules.keys()))
for routes in (app.router.routes, app.routes):
    print(sorted({{route.path for route in routes}} & {{"/healthz", "/v1/users"}}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['/healthz']", "['/healthz', '/v1/users']"]
