"""The process: what it needs to start, what it never loads, how it is served."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import httpx2
import pytest
import sqlalchemy as sa
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from paaplus.api.app import create_app
from paaplus.api.dependencies import Public
from paaplus.api.routing import ERRORS, Route, router_of
from paaplus.db.engine import Database
from paaplus.db.tables import FeedbackRow
from paaplus.db.tables.governance import KeyScope
from paaplus.errors import InvalidInput, Unavailable
from paaplus.services.users import keys
from paaplus.settings import Settings
from tests.support.databases import on_one_database
from tests.support.factories import APPLICATION, make_image, make_user
from tests.support.processes import wait_until


def environment(settings: Settings, **more: str) -> dict[str, str]:
    return os.environ | {
        "PAAPLUS_HOME": str(settings.home),
        "PAAPLUS_DATABASE_URL": settings.database_url,
        **more,
    }


def test_process_does_not_start_on_a_database_of_another_version(empty_database_url: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database_url=empty_database_url)
    with pytest.raises(Unavailable, match="paaplus db upgrade"), TestClient(create_app(settings)):
        pass


def test_process_does_not_start_without_usable_storage(settings: Settings) -> None:
    broken = settings.model_copy(update={"storage_url": "ftp://nowhere"})
    with pytest.raises(InvalidInput, match="storage URL"), TestClient(create_app(broken)):
        pass


@on_one_database
@pytest.mark.slow
def test_documentation_is_complete(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description"), (method, path)
            assert operation["tags"], (method, path)
    schemas = document["components"]["schemas"]
    assert "HTTPValidationError" not in schemas  # ours look otherwise
    validate(document)
    assert not [name for name in schemas if "__" in name or "." in name], "names of modules"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, response in operation["responses"].items():
                if path.startswith("/v1") and int(status) >= 400:
                    assert set(response["content"]) == {"application/problem+json"}, (method, path, status)


@on_one_database
@pytest.mark.parametrize("prefix", ["", "/aesthetics"])
def test_documentation_page_loads_nothing_from_elsewhere(settings: Settings, prefix: str) -> None:
    with TestClient(create_app(settings), root_path=prefix) as client:
        page = client.get("/docs")
        assert page.status_code == 200
        links = re.findall(r"""(?:src|href)=["']([^"']+)|url: ['"]([^'"]+)""", page.text)
        found = [first or second for first, second in links]
        assert len(found) >= 4
        for link in found:
            assert link.startswith(f"{prefix}/"), "not from a CDN"
            asset = client.get(link)
            assert (asset.status_code, len(asset.content) > 1000) == (200, True), link
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        assert "://" not in re.sub(r"http://www\.w3\.org\S*", "", page.text)


def test_module_level_app_is_made_when_it_is_asked_for() -> None:
    program = (
        "import sys, paaplus.api.app\n"
        "assert 'paaplus.db.engine' in sys.modules\n"
        "from paaplus.api.app import app\n"
        "assert app.title == 'paaplus', app\n"
        "try:\n    paaplus.api.app.nothing\nexcept AttributeError:\n    print('ok')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "ok\n"


def test_import_of_the_api_leaves_out_what_it_needs_later_or_never() -> None:
    """Every start waits for what is imported. Routes are analysed when they are used."""
    later = {"alembic", "jinja2", "pydantic.v1", "scipy", "uvicorn"}
    never = {"avalanche", "celery", "click", "httpx2", "kombu", "matplotlib", "onnxruntime", "timm", "torch", "typer"}
    program = f"""
import gc, sys
from paaplus.api import app, routing
print(sorted({later | never} & sys.modules.keys()), gc.get_threshold()[0])
routes = [route for route in app.create_app().routes if isinstance(route, routing.Route)]
print(len(routes) > 60, [route.path for route in routes if "dependant" in vars(route)])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[] 300000", "True []"]


def test_route_is_analysed_once_and_says_what_it_has_not() -> None:
    router = router_of("/v1/things", "things")

    @router.get("/{thing}", dependencies=[Public])
    def show_thing(thing: str) -> str:
        """Show it."""
        return thing

    [route] = router.routes
    assert isinstance(route, Route)
    assert (route.path, route.name, route.methods) == ("/v1/things/{thing}", "show_thing", {"GET"})
    assert "dependant" not in vars(route)
    first = route.dependant
    assert route.dependant is first
    assert (route.unique_id, route.description, set(route.responses)) == ("show_thing", "Show it.", set(ERRORS))
    with pytest.raises(AttributeError, match="'Route' has no attribute 'nothing'"):
        _ = route.nothing


@on_one_database
def test_server_that_waits_serves_when_it_is_told(settings: Settings) -> None:
    """It binds no port before, so a line that never comes leaves nothing behind."""
    for told, code in ((b"", 0), (b"\n", 3)):  # 3: uvicorn's, of an application that refuses its database
        done = subprocess.run(
            [sys.executable, "-m", "paaplus.api", "--wait"],
            input=told,
            capture_output=True,
            env=environment(settings, PAAPLUS_API_PORT="0", PAAPLUS_DATABASE_URL=f"sqlite:///{settings.home}/none.db"),
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert (b"no database at" in done.stderr) is bool(told)


@on_one_database
def test_process_never_loads_torch(settings: Settings, database: Database) -> None:
    """Start, upload, post, predict, look at everything: no torch, no timm, no Avalanche, no Celery in memory."""
    with database.session() as session:
        token = keys.create(session, name="k", scope=KeyScope.ADMIN, actor="test").token
    database.dispose()
    program = Path(__file__).with_name("use_everything.py")
    done = subprocess.run(
        [sys.executable, str(program), token],
        capture_output=True,
        text=True,
        env=environment(settings, PYTHONPATH=str(Path(__file__).parents[2])),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert set(loaded["statuses"].values()) == {200, 201}, loaded["statuses"]
    assert loaded["heavy"] == []


@pytest.fixture
def served(settings: Settings) -> Iterator[tuple[str, Path]]:
    """`python -m paaplus.api` on a free port: its URL, and the file with its output."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    output = settings.home / "api.log"
    settings.home.mkdir(parents=True)
    with output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "paaplus.api"],
            env=environment(settings, PAAPLUS_API_PORT=str(port)),
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/readyz", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, output.read_text()
                assert time.monotonic() < deadline, output.read_text()
                time.sleep(0.1)
        yield url, output
    finally:
        process.terminate()
        assert process.wait(60) in (0, -15)


def test_many_callers_at_once_lose_nothing_and_block_nobody(
    served: tuple[str, Path], database: Database, settings: Settings
) -> None:
    """More callers than the process has threads or connections: every event is kept, once, in order."""
    num_callers, num_each = 60, 4
    url, _ = served
    with database.session() as session:
        token = keys.create(session, name="k", scope=KeyScope.APPLICATION, application=APPLICATION, actor="test").token
        image = make_image(session).id
        users = [make_user(session, external_id=f"u{i}").id for i in range(5)]

    headers = {"Authorization": f"Bearer {token}"}

    def post(caller: int) -> list[int]:
        statuses = []
        with httpx2.Client(base_url=url, headers=headers, timeout=60, verify=False) as client:
            for i in range(num_each):
                event = {"event_id": f"{caller}-{i}", "user": f"u{caller % 5}", "kind": "binary",
                         "image": str(image), "liked": True}  # fmt: skip
                statuses.append(client.post("/v1/feedback", json=event).status_code)
                statuses.append(client.get(f"/v1/users/u{caller % 5}").status_code)
        return statuses

    with ThreadPoolExecutor(num_callers) as threads:
        answered = [status for statuses in threads.map(post, range(num_callers)) for status in statuses]
    assert (answered.count(201), answered.count(200)) == (num_callers * num_each,) * 2
    with database.read_session() as session:
        for user_id in users:
            query = sa.select(FeedbackRow.sequence).where(FeedbackRow.user_id == user_id)
            sequences = sorted(session.execute(query).scalars())
            assert sequences == list(range(1, num_callers // 5 * num_each + 1))


def test_process_serves_and_logs_in_json_without_keys_or_paths(served: tuple[str, Path], database: Database) -> None:
    url, output = served
    with database.session() as session:
        token = keys.create(session, name="k", scope=KeyScope.APPLICATION, application=APPLICATION, actor="test").token
    request = urllib.request.Request(
        f"{url}/v1/predictions",
        data=json.dumps({"users": ["canary-user"], "images": ["0199f7c4-8f3e-7c55-b7a0-3f3a5d7f0001"]}).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    by_path = urllib.request.Request(
        f"{url}/v1/users/canary-user/adapters?x=canary-user", headers=dict(request.headers)
    )
    for each, status in ((request, "404"), (by_path, "422")):
        with pytest.raises(urllib.error.HTTPError, match=status):
            urllib.request.urlopen(each, timeout=60)
    wait_until("both requests are in the log", lambda: output.read_text().count('"message": "request"') >= 2, 60)
    entries = [json.loads(line) for line in output.read_text().splitlines()]
    assert any("running on" in entry["message"].lower() for entry in entries)
    text = output.read_text()
    assert token not in text
    assert "canary-user" not in text
    access = [entry for entry in entries if entry["message"] == "request"]
    assert [(each["method"], each["route"], each["status"]) for each in access[-2:]] == [
        ("POST", "/v1/predictions", 404),
        ("GET", "/v1/users/{user}/adapters", 422),
    ]
    for each in access[-2:]:
        assert each["ms"] > 0
        assert each["request_id"]
        assert UUID(each["key_id"])
