"""Every address that the platform writes has the path prefix of its proxy, whether the proxy takes it off or not."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
from fastapi.testclient import TestClient

from paaplus.api.app import create_app
from paaplus.errors import InvalidInput
from paaplus.settings import Settings, get_settings
from tests.api.conftest import World
from tests.api.test_studio import HTML, code_of
from tests.support.databases import on_one_database

PREFIX = "/paaplus"


@on_one_database
@pytest.mark.parametrize("of_server", ["", PREFIX])
@pytest.mark.parametrize("arrives", ["", PREFIX])
def test_pages_redirects_and_cookies_have_the_prefix(settings: Settings, of_server: str, arrives: str) -> None:
    """`arrives`: what is before the path that the platform gets. `of_server`: uvicorn's own --root-path."""
    chosen = settings.model_copy(update={"root_path": "" if of_server else PREFIX})
    with TestClient(create_app(chosen), root_path=of_server) as client:
        world = World(client)
        home = client.get(f"{arrives}/", follow_redirects=False)
        assert (home.status_code, home.headers["location"]) == (307, f"{PREFIX}/studio/")
        entered = client.get(f"{arrives}/studio/enter?code={code_of(world, 'admin')}", follow_redirects=False)
        assert entered.headers["location"] == f"{PREFIX}/studio/"
        assert f"path={PREFIX}/studio;" in entered.headers["set-cookie"].lower()
        client.cookies.set("paaplus_studio", client.cookies["paaplus_studio"], path="/")
        for path in ("/", "/watch", f"/watch/people/{world.ada}", "/watch/quotas", "/research"):
            page = client.get(f"{arrives}/studio{path}?lang=zh", headers=HTML)
            assert page.status_code == 200, path
            assert f"path={PREFIX}/studio;" in page.headers["set-cookie"].lower()
            links = re.findall(r"""(?:src|href|action|formaction)=["']([^"']*)""", page.text)
            own = [link for link in links if not link.startswith(("#", "?"))]
            assert len(own) > 5
            assert [link for link in own if not link.startswith(f"{PREFIX}/studio/")] == [], path
            assert f'<meta name="studio-base" content="{PREFIX}/studio">' in page.text
        static = re.findall(r'src="([^"]+\.js[^"]*)"', client.get(f"{arrives}/studio/watch", headers=HTML).text)
        assert client.get(arrives + static[0].removeprefix(PREFIX)).headers["cache-control"].endswith("immutable")
        assert client.get(f"{arrives}/healthz").status_code == 200
        assert client.get(f"{arrives}/v1/users", headers={"Authorization": "Bearer x"}).status_code == 401


@on_one_database
def test_link_for_a_person_has_the_origin_that_the_browser_knows(settings: Settings) -> None:
    chosen = settings.model_copy(update={"root_path": PREFIX})
    with TestClient(create_app(chosen), base_url="http://inside:8000") as client:
        world = World(client)
        page = client.get(f"/studio/enter?code={code_of(world, 'admin')}", follow_redirects=False)
        client.cookies.set("paaplus_studio", page.cookies["paaplus_studio"], path="/")
        token = re.findall(
            '<meta name="studio-token" content="([^"]+)">', client.get("/studio/watch", headers=HTML).text
        )
        headers = HTML | {"Origin": "https://photos.example", "Sec-Fetch-Site": "same-origin"}
        made = client.post(f"/studio/watch/people/{world.ada}/invite", data={"token": token[0]}, headers=headers)
        assert f'value="https://photos.example{PREFIX}/studio/enter?code=' in made.text


def test_nothing_in_pages_and_scripts_names_the_place_of_the_studio() -> None:
    for folder in ("templates", "static"):
        for file in files("paaplus.studio").joinpath(folder).iterdir():
            found = re.findall(r"""["'`(=]/studio\b.*""", file.read_text("utf-8"))
            assert found == [], file.name


@pytest.mark.parametrize("wrong", ["paaplus", "/a b", "//x", "/studio", "/v1/x", "/a/../b?"])
def test_prefix_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("PAAPLUS_ROOT_PATH", wrong)
    get_settings.cache_clear()
    try:
        with pytest.raises(InvalidInput, match="PAAPLUS_ROOT_PATH"):
            get_settings()
    finally:
        get_settings.cache_clear()
