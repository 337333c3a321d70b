"""The demo's platform: `paaplus` commands, and `paaplus up` as a child process."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from paaplus.demo.failure import DemoFailed
from paaplus.processes import url_of, usable_port

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
COMMAND_TIMEOUT_S = 900.0
HOST = "127.0.0.1"
SCAN_INTERVAL_S = 1.0
_PR_SET_PDEATHSIG = 1
_CACHE = "cache"  # features of earlier runs, by image content; the only part that `wipe` keeps


class Platform:
    """A deployment in one folder. As a context manager, it stops its processes at the end."""

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def wipe(self) -> None:
        """Empty the folder, except for cached features."""
        self.home.mkdir(parents=True, exist_ok=True)
        for entry in self.home.iterdir():
            if entry.name == _CACHE:
                continue
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def command(self, *arguments: str) -> Any:
        """Run `paaplus ARGUMENTS --json` and read its answer.

        Raises:
            DemoFailed: the command failed; the message has its output.
        """
        line = [sys.executable, "-m", "paaplus.cli.main", *arguments, "--json"]
        shown = "paaplus " + " ".join(arguments)
        try:
            done = subprocess.run(
                line, env=self._environment(), capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise DemoFailed(f"{shown}: not done within {COMMAND_TIMEOUT_S:.0f} s") from error
        if done.returncode != 0:
            raise DemoFailed(f"{shown}: exit code {done.returncode}\n{done.stderr.strip()[-2000:]}")
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise DemoFailed(f"{shown}: no JSON on stdout: {done.stdout[:500]!r}") from error

    def start(self) -> None:
        """Start `paaplus up` on a free port and wait until it is ready.

        Raises:
            DemoFailed: it ended, or was not ready in time.
        """
        port = usable_port(HOST, 0)
        self.url = url_of(HOST, port)
        log = self.home / "logs" / "up.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "paaplus.cli.main", "up", "--port", str(port)],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only the demo, which stops the platform
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            self.check_alive()
            if time.monotonic() > deadline:
                raise DemoFailed(f"the platform was not ready within {START_TIMEOUT_S:.0f} s")
            time.sleep(0.1)

    def check_alive(self) -> None:
        """Raises:
        DemoFailed: the platform has ended by itself.
        """
        if self._process is not None and (code := self._process.poll()) is not None:
            raise DemoFailed(f"the platform ended with exit code {code}")

    def stop(self) -> None:
        """Stop the platform: SIGTERM, wait, SIGKILL."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def log_tails(self, num_lines: int = 15) -> str:
        """The last lines of every log of the platform, for error messages."""
        parts = []
        for file in sorted((self.home / "logs").glob("*.log")):
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()[-num_lines:]
            if lines:
                parts.append("\n".join([f"--- {file}", *lines]))
        return "\n".join(parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _is_ready(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/readyz", timeout=2.0).status_code == 200
        except httpx2.HTTPError:
            return False

    def _environment(self) -> dict[str, str]:
        """This process's environment without its PAAPLUS_ settings, so that the demo touches no other deployment."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PAAPLUS_")}
        return {
            **inherited,
            "PAAPLUS_HOME": str(self.home),
            "PAAPLUS_SCAN_INTERVAL_S": str(SCAN_INTERVAL_S),
            "PAAPLUS_DEVICE": "cpu",
            "PAAPLUS_API_HOST": HOST,
        }


def _die_with_parent() -> None:
    """Ask Linux to end the platform when the demo ends, even by SIGKILL."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
