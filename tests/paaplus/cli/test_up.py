"""`paaplus up` tells how to come in again, at the port that it has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from paaplus.cli import up
from paaplus.settings import get_settings


@pytest.mark.parametrize(
    ("port", "told"), [(None, "`paaplus studio` prints"), (8123, "`paaplus studio --port 8123` prints")]
)
def test_the_command_for_another_link_names_a_port_that_is_not_the_usual_one(
    port: int | None, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Supervisor:
        def __init__(self, *_: object, when_ready: Callable[[], None], **__: object) -> None:
            self.when_ready = when_ready

        def run(self, prepare: Callable[[], None]) -> None:
            prepare()
            self.when_ready()

    monkeypatch.setenv("PAAPLUS_HOME", str(tmp_path))
    get_settings.cache_clear()
    monkeypatch.setattr(up, "_ensure_base_model", lambda _: None)
    monkeypatch.setattr(up, "migrate", SimpleNamespace(upgrade=lambda _: None))
    monkeypatch.setattr(up, "studio_link", lambda _, url: f"{url}/studio/enter?code=x")
    monkeypatch.setattr(up.processes, "usable_port", lambda _, wanted: wanted)
    monkeypatch.setattr(up.supervisor, "Supervisor", Supervisor)
    up.up(port)
    assert told in capsys.readouterr().err
