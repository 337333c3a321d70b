"""`paaplus up` notes where it listens, so that other commands of its home come in again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from paaplus import running
from paaplus.cli import studio, up
from paaplus.settings import Settings, get_settings


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    monkeypatch.setenv("PAAPLUS_HOME", str(tmp_path))
    get_settings.cache_clear()
    return get_settings()


def test_another_link_leads_to_the_port_that_is_served(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []

    class Supervisor:
        def __init__(self, *_: object, when_ready: Callable[[], None], **__: object) -> None:
            self.when_ready = when_ready

        def run(self, prepare: Callable[[], None]) -> None:
            prepare()
            self.when_ready()
            seen.append(studio._running(settings))

    monkeypatch.setattr(up, "_ensure_base_model", lambda _: None)
    monkeypatch.setattr(up, "migrate", SimpleNamespace(upgrade=lambda _: None))
    monkeypatch.setattr(up, "studio_link", lambda _, url: f"{url}/studio/enter?code=x")
    monkeypatch.setattr(up.processes, "usable_port", lambda _, wanted: wanted)
    monkeypatch.setattr(up.supervisor, "Supervisor", Supervisor)
    monkeypatch.setattr(studio.supervisor, "answers", lambda url: url == "http://127.0.0.1:8123/healthz")
    up.up(8123)
    assert "`paaplus studio` prints another" in " ".join(capsys.readouterr().err.split())
    assert seen == ["http://127.0.0.1:8123"]
    assert studio._running(settings) == "http://127.0.0.1:8000", "nothing is noted any more"


def test_a_note_that_a_kill_left_is_not_believed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio.supervisor, "answers", lambda url: False)
    with running.noted(settings.home, "http://127.0.0.1:8123"):
        assert running.addresses(settings) == ["http://127.0.0.1:8123", "http://127.0.0.1:8000"]
        assert studio._running(settings) == "http://127.0.0.1:8000"


def test_a_platform_takes_back_its_own_note_only(settings: Settings) -> None:
    with running.noted(settings.home, "http://127.0.0.1:1"), running.noted(settings.home, "http://127.0.0.1:2"):
        pass
    assert running.addresses(settings) == ["http://127.0.0.1:8000"]
    with running.noted(settings.home, "http://127.0.0.1:2"):
        with running.noted(settings.home, "http://127.0.0.1:1"):
            (settings.home / "address").write_text("http://127.0.0.1:3\n")
        assert running.addresses(settings)[0] == "http://127.0.0.1:3"
    (settings.home / "address").write_bytes(b"\xff\xfe")
    assert running.addresses(settings) == ["http://127.0.0.1:8000"], "a note that is no text is none"
