"""The folder that is the embedded mode's broker."""

from __future__ import annotations

import sys
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Queue
from kombu.transport import filesystem

from paaplus.settings import Settings
from paaplus.workers.app import make_app


def test_message_that_is_being_written_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kombu's own channel gives a reader an empty file here, of which a worker dies."""
    app = make_app(Settings(home=tmp_path))
    whole, replace = filesystem.dumps, Path.replace
    with app.connection_for_write() as writing, app.connection_for_read() as reading:
        writer, reader = writing.channel(), reading.channel()

        def nothing_is_there() -> None:
            with pytest.raises(Empty):
                reader._get("cpu")

        def dumps(payload: Any) -> str:
            nothing_is_there()
            return str(whole(payload))

        def move(file: Path, target: Path) -> Path:
            nothing_is_there()
            return replace(file, target)

        monkeypatch.setattr(filesystem, "dumps", dumps)
        monkeypatch.setattr(Path, "replace", move)
        writer._put("cpu", {"body": "ring"})
        assert reader._size("cpu") == 1
        assert reader._get("cpu") == {"body": "ring"}
        nothing_is_there()


def test_reader_looks_seldom_and_hears_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kombu looks into the folder ten times a second, or as often as it is told to, also while nothing happens."""
    app = make_app(Settings(home=tmp_path))
    with app.connection_for_write() as writing, app.connection_for_read() as reading:
        received: list[Any] = []
        consumer = reading.Consumer([Queue("cpu")], accept=["json"], on_message=received.append)
        looks: list[str] = []
        look = filesystem.Channel._get
        monkeypatch.setattr(
            filesystem.Channel, "_get", lambda channel, queue: looks.append(queue) or look(channel, queue)
        )
        with consumer:
            with pytest.raises(TimeoutError):
                reading.drain_events(timeout=0.5)
            if sys.platform == "linux":
                assert len(looks) == 2, "before and after the wait"
            writing.SimpleQueue("cpu").put({"ring": 1})
            reading.drain_events(timeout=60)
    assert [message.decode() for message in received] == [{"ring": 1}]
