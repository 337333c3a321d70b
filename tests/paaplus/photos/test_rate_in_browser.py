"""`paaplus rate` in the studio: on an API of its own, on a platform that runs, and not on somebody else's."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from paaplus import running
from paaplus.cli import rate_in_browser
from paaplus.cli.main import app
from paaplus.db.tables import ApiKeyRow
from paaplus.photos.platform import LocalPlatform
from paaplus.processes import api_command, url_of, usable_port
from paaplus.services.registry import starter
from paaplus.settings import get_settings
from paaplus.supervisor import answers
from tests.paaplus.photos.conftest import NUM_PHOTOS, tiny_starter

pytest.importorskip("jinja2", reason="needs the extra: pip install 'paaplus[studio]'")

Opener = Callable[[], AbstractContextManager[LocalPlatform]]
WAIT_S = 120.0


class Browser:
    """What the person does with the link: rates so many photos, and then ends the command if it serves the page."""

    def __init__(self, num: int, *, ends: bool) -> None:
        self.num, self.ends = num, ends
        self.link = ""
        self.rated: list[str] = []
        self.error: BaseException | None = None
        self.thread: threading.Thread | None = None

    def open(self, link: str) -> bool:
        self.link = link
        self.thread = threading.Thread(target=self.work)
        self.thread.start()
        return True

    def work(self) -> None:
        try:
            self.rate()
        except BaseException as error:
            self.error = error
        finally:
            if self.ends:
                os.kill(os.getpid(), signal.SIGINT)

    def rate(self) -> None:
        with httpx2.Client(follow_redirects=True, timeout=60.0) as http:
            page = http.get(self.link)
            assert page.status_code == 200
            assert page.url.path == "/studio/rate", "the link leads to the rating page"
            found = re.search(r'name="token" (?:content|value)="([^"]+)"', page.text)
            assert found is not None
            root = f"{page.url.scheme}://{page.url.host}:{page.url.port}/studio"
            while len(self.rated) < self.num:
                [first, *_] = http.get(f"{root}/rate/photos").json()["items"]
                answer = {"kind": "rating", "event_id": f"test-{len(self.rated)}", "image": first["id"],
                          "value": 1 + len(self.rated) % 5, "min": 1, "max": 5}  # fmt: skip
                posted = http.post(f"{root}/rate/answers", json=answer, headers={"x-studio-token": found[1]})
                assert posted.status_code == 200, posted.text
                self.rated.append(first["id"])


@pytest.fixture
def command(
    open_here: Opener, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., tuple[str, str]]]:
    """Runs `paaplus rate` where a browser can be opened; returns what it printed."""
    monkeypatch.setenv("PAAPLUS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(starter, "ensure", tiny_starter)
    monkeypatch.setattr(rate_in_browser, "why_not", lambda: None)

    def call(browser: Browser, *arguments: str, port: int) -> tuple[str, str]:
        import typer

        monkeypatch.setenv("PAAPLUS_API_PORT", str(port))
        monkeypatch.setattr(rate_in_browser.webbrowser, "open", browser.open)
        get_settings.cache_clear()
        typer.main.get_command(app)(["rate", *arguments], standalone_mode=False)
        assert browser.thread is not None, "the link was opened"
        browser.thread.join(WAIT_S)
        if browser.error is not None:
            raise browser.error
        printed = capsys.readouterr()
        return printed.out, printed.err

    yield call
    get_settings.cache_clear()


@contextmanager
def api_of(home: Path, port: int) -> Iterator[str]:
    """An API process of this home."""
    environment = {**os.environ, "PAAPLUS_HOME": str(home), "PAAPLUS_API_PORT": str(port)}
    process = subprocess.Popen(
        api_command(), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    url = url_of("127.0.0.1", port)
    try:
        deadline = time.monotonic() + WAIT_S
        while not answers(f"{url}/readyz"):
            assert process.poll() is None, "the API ended"
            assert time.monotonic() < deadline, "the API is not ready"
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(WAIT_S)


def keys_of(platform: LocalPlatform) -> list[Any]:
    with platform.database.read_session() as session:
        return [
            row.revoked_at
            for row in session.execute(sa.select(ApiKeyRow).where(ApiKeyRow.user_id == platform.user_id)).scalars()
        ]


def test_the_page_is_served_until_the_end_and_the_answers_train(
    command: Callable[..., tuple[str, str]], open_here: Opener, folder: Path
) -> None:
    browser, before = Browser(6, ends=True), signal.getsignal(signal.SIGINT)
    port = usable_port("127.0.0.1", 0)
    out, err = command(browser, str(folder), "--json", port=port)
    assert f"http://127.0.0.1:{port}/studio/enter?code=" in err.replace("\n", "")
    told = json.loads(out)
    assert (told["answers"], told["photographs_rated"]) == (6, 6)
    assert len(set(browser.rated)) == 6
    assert told["result"]
    assert not answers(f"http://127.0.0.1:{port}/healthz"), "the API ends with the command"
    with open_here() as platform:
        [revoked_at] = keys_of(platform)
    assert revoked_at is not None, "the session ends with the command"
    assert signal.getsignal(signal.SIGINT) is before


def test_a_platform_that_runs_with_this_home_serves_the_page_and_goes_on(
    command: Callable[..., tuple[str, str]], open_here: Opener, folder: Path, tmp_path: Path
) -> None:
    port = usable_port("127.0.0.1", 0)
    with open_here():
        pass
    with api_of(tmp_path / "home", port) as url:
        browser = Browser(2, ends=False)
        out, err = command(browser, str(folder), port=port)
        assert browser.link.startswith(f"{url}/studio/enter?code=")
        assert "the running platform trains" in err
        assert out == ""
        assert answers(f"{url}/healthz")
        with open_here() as platform:
            assert keys_of(platform) == [None], "the session stays open"
        elsewhere = Browser(0, ends=False)
        with running.noted(tmp_path / "home", url):
            command(elsewhere, str(folder), port=usable_port("127.0.0.1", 0))
        assert elsewhere.link.startswith(f"{url}/studio/enter?code="), "a port that is not the usual one is found"
        with open_here() as platform:
            assert keys_of(platform) == [None, None], "a session that is in use is not ended by the next"


def test_a_platform_of_another_home_is_left_alone(
    command: Callable[..., tuple[str, str]], folder: Path, tmp_path: Path, sqlite_template: Path
) -> None:
    import shutil

    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(sqlite_template, other / "paaplus.db")
    port = usable_port("127.0.0.1", 0)
    with api_of(other, port):
        browser = Browser(1, ends=True)
        out, _ = command(browser, str(folder), "--json", port=port)
        assert f":{port}/" not in browser.link
    assert json.loads(out)["answers"] == 1


@pytest.mark.parametrize(
    ("environment", "is_terminal", "reason"),
    [
        ({"DISPLAY": ":0"}, False, "the input is no terminal"),
        ({}, True, "there is no display"),
        ({"BROWSER": "firefox"}, True, None),
    ],
)
def test_the_terminal_is_taken_where_no_browser_can_be_opened(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], is_terminal: bool, reason: str | None
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("sys.stdin", type("Input", (), {"isatty": lambda _: is_terminal})())
    assert rate_in_browser.why_not() == reason


def test_piped_keys_are_answers_and_no_key_is_a_mistake(
    open_here: Opener,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    import typer

    from paaplus.errors import InvalidInput

    monkeypatch.setenv("PAAPLUS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(starter, "ensure", tiny_starter)
    run = typer.main.get_command(app)
    keys = tmp_path / "keys.txt"
    keys.write_text("3 1 2\n5 4\n" * 2)
    with keys.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        run(["rate", str(folder), "--json"], standalone_mode=False)
    printed = capsys.readouterr()
    assert json.loads(printed.out)["answers"] == 10
    assert "rating in the terminal: the input is no terminal" in printed.err
    with Path(os.devnull).open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(InvalidInput, match="no answer came"):
            run(["rate", str(folder)], standalone_mode=False)
    assert NUM_PHOTOS > 10
