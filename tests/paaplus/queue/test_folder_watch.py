"""A watch of a folder: what changes there ends a wait, with Linux's help and without."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from paaplus.queue import folder_watch
from paaplus.queue.folder_watch import FolderWatch

LONG_S = 60.0


def touch(folder: Path) -> None:
    (folder / "bell").touch()
    os.utime(folder / "bell")


def rename(folder: Path) -> None:
    (folder / "message.unfinished").write_text("ring")
    (folder / "message.unfinished").rename(folder / "message")


@pytest.mark.parametrize("change", [touch, rename])
@pytest.mark.parametrize("is_told", [True, False])
def test_change_ends_the_next_wait(
    change: Callable[[Path], None], is_told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_told:
        monkeypatch.setattr(folder_watch, "_watching", lambda _: None)
    with FolderWatch(tmp_path) as folder:
        for _ in range(2):
            change(tmp_path)
            started = time.monotonic()
            folder.wait(LONG_S)
            assert time.monotonic() - started < LONG_S


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of changes")
def test_wait_lasts_while_nothing_changes(tmp_path: Path) -> None:
    (tmp_path / "database").write_text("")
    with FolderWatch(tmp_path) as folder:
        folder.wait(0.0)
        started = time.monotonic()
        (tmp_path / "database").write_text("written in place, as SQLite writes")
        folder.wait(0.3)
        assert time.monotonic() - started >= 0.25, "a wait may end a little early, by the clock's grain"


def test_folder_that_is_not_there_is_looked_at(tmp_path: Path) -> None:
    started = time.monotonic()
    with FolderWatch(tmp_path / "gone") as folder:
        folder.wait(LONG_S)
    assert time.monotonic() - started < LONG_S, "nobody tells of it, so a wait is the pause between two looks"
