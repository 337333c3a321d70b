"""Waiting for changes in a folder, between processes of one machine: it costs nothing while nothing changes."""

from __future__ import annotations

import ctypes
import os
import select
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final

LOOK_S: Final = 0.05  # between two looks of those who cannot be told
_IN_ATTRIB: Final = 0x4  # a file's time was renewed
_IN_MOVED_TO: Final = 0x80  # a file got its name
_EVENTS_BYTES: Final = 65_536


class FolderWatch:
    """Waits until a file in a folder may have got a new time, or may have been renamed to its name there.

    Linux tells (inotify). Elsewhere, or where Linux has no watch left, every wait ends after `LOOK_S`. A caller looks
    before each wait: what changes after the watch was made ends the next wait, also if it changed before that.
    """

    def __init__(self, folder: Path) -> None:
        self._told = _watching(folder)

    def wait(self, timeout_s: float) -> None:
        """Return after a change, or after the timeout at the latest. There may be no change."""
        if self._told is None:
            time.sleep(min(timeout_s, LOOK_S))
            return
        poll = select.poll()
        poll.register(self._told, select.POLLIN)
        if poll.poll(1000 * timeout_s):
            os.read(self._told, _EVENTS_BYTES)  # what is left of very many ends the next wait

    def close(self) -> None:
        if self._told is not None:
            os.close(self._told)
            self._told = None

    def __enter__(self) -> FolderWatch:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()


def _watching(folder: Path) -> int | None:
    """A file descriptor that can be read when something has changed; None: this system does not tell."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    told = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if told < 0:
        return None
    if libc.inotify_add_watch(told, os.fsencode(folder), _IN_ATTRIB | _IN_MOVED_TO) < 0:
        os.close(told)
        return None
    return told
