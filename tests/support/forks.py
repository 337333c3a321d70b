"""Real processes without the seconds that importing torch takes: forked from one that has imported it and nothing done.

Not from the test itself: threads of the storage library do not survive a fork.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paaplus.settings import get_settings

_PR_SET_PDEATHSIG = 1
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "tests.support.acts",
        "celery.bin.celery",
        "celery.apps.worker",
        "celery.apps.beat",
        "celery.worker.consumer",
        "uvicorn",
    ]
)


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


class ForkedCommand:
    """A command `python -m MODULE ...` in a session of its own. Used like `subprocess.Popen`."""

    def __init__(
        self, command: list[str], environment: dict[str, str], log_file: Path, errors_file: Path | None = None
    ) -> None:
        assert command[:2] == [sys.executable, "-m"], command
        self.args = command
        self._process = _context.Process(
            target=_run_module, args=(command[2:], environment, str(log_file), str(errors_file or log_file))
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        while self.poll() is None and os.getpgid(self.pid) != self.pid:  # until then a signal to its group is lost
            time.sleep(0.005)

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def terminate(self) -> None:
        self._process.terminate()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self._process.exitcode


def _run_module(command: list[str], environment: dict[str, str], log_file: str, errors_file: str) -> None:
    os.setsid()
    if sys.platform == "linux":  # ends with the process that forks, which ends with the test's, even by SIGKILL
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with open(log_file, "ab") as log, open(errors_file, "ab") as errors:
        os.dup2(log.fileno(), 1)
        os.dup2(errors.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    get_settings.cache_clear()
    sys.argv = command
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


def _run(fault: str, act: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    os.environ["PAAPLUS_FAULT"] = fault
    get_settings.cache_clear()
    act(*arguments)
