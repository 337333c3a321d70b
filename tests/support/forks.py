"""Real processes without the seconds that importing torch takes: forked from one that has imported it and nothing done.

Not from the test itself: threads of the storage library do not survive a fork.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paaplus.settings import get_settings

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.support.acts"])


class Fork:
    """A process that runs `act(*arguments)` with `PAAPLUS_FAULT=fault`. `act` is a function of `tests.support.acts`."""

    def __init__(self, act: Callable[..., object], *arguments: Any, fault: str = "") -> None:
        self._process = _context.Process(target=_run, args=(fault, act, arguments))
        self._process.start()

    def wait(self, timeout_s: float = 100.0) -> int:
        """The exit code, or minus the signal's number."""
        self._process.join(timeout_s)
        code = self._process.exitcode
        if code is None:
            self.kill()
            raise AssertionError(f"the forked process has not ended in {timeout_s:.0f} s")
        return code

    def wait_until_stopped(self, timeout_s: float = 100.0) -> None:
        """Until the process has been stopped by SIGSTOP."""
        stat = Path(f"/proc/{self._process.pid}/stat")
        if not stat.exists():
            pytest.skip("only Linux tells that a process is stopped")
        deadline = time.monotonic() + timeout_s
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"the forked process has not stopped itself in {timeout_s:.0f} s")
            time.sleep(0.01)

    def resume(self) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def _run(fault: str, act: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    os.environ["PAAPLUS_FAULT"] = fault
    get_settings.cache_clear()
    act(*arguments)
