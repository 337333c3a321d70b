"""Embedded mode: API, worker and scheduler as child processes of one command, restarted when they end."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from types import FrameType

from paaplus.errors import Unavailable
from paaplus.processes import QUIET, api_command, scheduler_command, worker_command
from paaplus.settings import Settings

STOP_TIMEOUT_S = 15.0
LATEST_START_S = 20.0  # of a child that waits until the platform is ready
POLL_S = 0.1
MAX_RESTARTS = 5
RESTART_WINDOW_S = 60.0
_PR_SET_PDEATHSIG = 1


@dataclass
class Child:
    """One supervised process.

    Attributes:
        waits: it loads its modules, and works when it is told to by a line on its standard input. Such a child starts
            before the platform is prepared.
        is_late: it starts when the platform is ready, or after `LATEST_START_S`: the others need the processor first.
    """

    name: str
    command: list[str]
    log_file: Path
    waits: bool = False
    is_late: bool = False
    process: subprocess.Popen[bytes] | None = None
    restarts: list[float] = field(default_factory=list)


def embedded_children(settings: Settings) -> list[Child]:
    """The three processes of the embedded mode: the same API, tasks and app as in production."""
    logs = settings.home.absolute() / "logs"
    # One solo worker: training must not share the API's interpreter, and the folder broker is fast only with solo.
    alone = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    commands = {
        "api": api_command(waits=True),
        "worker": worker_command(["cpu", "gpu"], pool="solo", name="embedded@%h", more=[*alone, *QUIET]),
        "scheduler": scheduler_command(QUIET),
    }
    return [
        Child(name, command, logs / f"{name}.log", waits=name == "api", is_late=name == "scheduler")
        for name, command in commands.items()
    ]


class Supervisor:
    """Starts child processes, restarts those that end, and stops all of them when it stops."""

    def __init__(
        self,
        children: list[Child],
        environment: dict[str, str],
        *,
        is_ready: Callable[[], bool] = lambda: False,
        when_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self.children = children
        self._environment = environment
        self._is_ready = is_ready
        self._when_ready = when_ready
        self._told = False
        self._stopping = False

    def run(self, prepare: Callable[[], None] = lambda: None) -> None:
        """Block until SIGTERM or SIGINT.

        Args:
            prepare: what comes before the work of any child. Its errors end the children that have started.

        Raises:
            Unavailable: a child ended too often; the message names its log.
        """
        try:
            for child in self.children:
                if child.waits:
                    self._start(child)
            prepare()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._stop)
            for child in self.children:
                if child.waits:
                    _tell(child)
                elif not child.is_late:
                    self._start(child)
            self._watch()
        finally:
            self._end_all()

    def _watch(self) -> None:
        started = time.monotonic()
        while not self._stopping:
            for child in self.children:
                self._restart_if_dead(child)
            is_ready = not self._told and self._is_ready()
            if is_ready or time.monotonic() - started > LATEST_START_S:
                for child in self.children:
                    if child.is_late and child.process is None:
                        self._start(child)
            if is_ready:
                self._told = True
                self._when_ready()
            time.sleep(POLL_S)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _start(self, child: Child) -> None:
        child.log_file.parent.mkdir(parents=True, exist_ok=True)
        with child.log_file.open("ab") as log:
            child.process = subprocess.Popen(
                child.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.PIPE if child.waits else subprocess.DEVNULL,
                env=self._environment,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
                start_new_session=True,  # Ctrl-C reaches only the supervisor, which stops the children
            )

    def _restart_if_dead(self, child: Child) -> None:
        if self._stopping or child.process is None or child.process.poll() is None:
            return
        now = time.monotonic()
        child.restarts = [moment for moment in child.restarts if now - moment < RESTART_WINDOW_S]
        if len(child.restarts) >= MAX_RESTARTS:
            raise Unavailable(
                f"{child.name} died {MAX_RESTARTS + 1} times in {RESTART_WINDOW_S:.0f} s "
                f"(exit code {child.process.returncode}); its log: {child.log_file}"
            )
        child.restarts.append(now)
        time.sleep(0.5)
        self._start(child)
        if child.waits:
            _tell(child)

    def _end_all(self) -> None:
        alive = [c.process for c in self.children if c.process is not None and c.process.poll() is None]
        for process in alive:
            process.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for process in alive:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _tell(child: Child) -> None:
    """Let a child that waits begin its work."""
    assert child.process is not None
    assert child.process.stdin is not None
    with suppress(BrokenPipeError), child.process.stdin as line:  # it died meanwhile, and is started again
        line.write(b"\n")


def answers(url: str) -> bool:
    """Whether a server on this machine answers with 200. No proxy of the environment is asked."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2.0) as answer:
            return int(answer.status) == 200
    except (OSError, HTTPException):  # an answer of 503 is an OSError too
        return False


def _die_with_parent() -> None:
    """Ask Linux to end this process when the supervisor ends, even by SIGKILL."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def child_environment(settings: Settings, port: int) -> dict[str, str]:
    """The environment of the children: the same settings, the API's port, and an absolute PAAPLUS_HOME."""
    return {**os.environ, "PAAPLUS_HOME": str(settings.home.absolute()), "PAAPLUS_API_PORT": str(port)}
