"""The platform under test: commands, and processes that are started, killed, paused and restarted."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from paaplus.errors import Unavailable
from paaplus.faults import FROM_FILE
from paaplus.processes import QUIET, api_command, scheduler_command, worker_command

READY_TIMEOUT_S: Final = 180.0
STOP_TIMEOUT_S: Final = 20.0
COMMAND_TIMEOUT_S: Final = 600.0
LEASE_S: Final = 6.0  # long enough for a heartbeat beside four other processes on two busy cores
CLI: Final = (sys.executable, "-m", "paaplus.cli.main")
_PR_SET_PDEATHSIG = 1

# Short intervals and leases, so that minutes cover what a deployment meets in weeks. Many attempts, so that a job is
# given up only if trying again cannot help, which is then a defect of the platform.
SCHEDULES: Final = {
    "PAAPLUS_SCAN_INTERVAL_S": "0.3",
    "PAAPLUS_LEASE_S": str(LEASE_S),
    "PAAPLUS_RETRY_BASE_S": "0.1",
    "PAAPLUS_RETRY_CAP_S": "1",
    "PAAPLUS_MAX_ATTEMPTS": "1000",
    "PAAPLUS_DEVICE": "cpu",
    "OMP_NUM_THREADS": "1",
}


@dataclass
class Process:
    """One process of the platform, and its current start.

    `fault_file` holds the fault point at which the process kills itself. `was_condemned`: a fault was injected that may
    end the process since its last start.
    """

    name: str
    role: str
    command: list[str]
    log_file: Path
    fault_file: Path
    popen: subprocess.Popen[bytes] | None = None
    was_condemned: bool = False
    is_paused: bool = False

    @property
    def is_alive(self) -> bool:
        return self.popen is not None and self.popen.poll() is None


class Platform:
    """A deployment in a temporary folder. As a context manager, it stops its processes at the end.

    Processes that end are restarted, as a supervisor does. Those that end without an injected fault are counted.
    """

    def __init__(self, home: Path, *, database_url: str, broker_url: str, num_workers: int) -> None:
        self.home = home
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PAAPLUS_")},
            **SCHEDULES,
            "PAAPLUS_HOME": str(home),
            "PAAPLUS_DATABASE_URL": database_url,
            "PAAPLUS_BROKER_URL": broker_url,
            "PAAPLUS_API_PORT": str(self.port),
        }
        self.unexpected_exits: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._stopping = False
        self._ended = threading.Event()
        self.processes = {process.name: process for process in self._make(num_workers, 2 if broker_url else 1)}

    def _make(self, num_workers: int, num_schedulers: int) -> list[Process]:
        alone = ["--without-gossip", "--without-mingle", *QUIET]
        made = [self._process("api", "api", api_command())]
        for i in range(num_workers):
            command = worker_command(["cpu", "gpu"], pool="solo", name=f"worker-{i}@%h", more=alone)
            made.append(self._process(f"worker-{i}", "worker", command))
        for i in range(num_schedulers):
            command = scheduler_command(["--schedule", str(self.home / f"scheduler-{i}-schedule"), *QUIET])
            made.append(self._process(f"scheduler-{i}", "scheduler", command))
        return made

    def _process(self, name: str, role: str, command: list[str]) -> Process:
        return Process(name, role, command, self.home / "logs" / f"{name}.log", self.home / "faults" / name)

    def command(self, *arguments: str) -> Any:
        """Run `paaplus ARGUMENTS` and read its JSON, if there is any.

        Raises:
            Unavailable: the command failed; the message has its output.
        """
        code, output, errors = run_command([*CLI, *arguments], self._environment)
        if code != 0:
            raise Unavailable(f"paaplus {' '.join(arguments)}: exit code {code}\n{errors[-2000:]}")
        return json.loads(output) if "--json" in arguments else None

    def start(self) -> None:
        """Start everything, wait until the API is ready, and keep everything running from then on.

        Raises:
            Unavailable: the API was not ready in time.
        """
        threading.Thread(target=self._keep_running, daemon=True).start()
        if not self.wait_until_ready(READY_TIMEOUT_S):
            raise Unavailable(f"the platform was not ready within {READY_TIMEOUT_S:.0f} s\n{self.log_tails()}")

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def wait_until_ready(self, timeout_s: float) -> bool:
        """True if every process runs and the API is ready within that time."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if all(p.is_alive and not p.is_paused for p in self.processes.values()) and self.is_ready():
                return True
            time.sleep(0.1)
        return False

    def kill(self, process: Process) -> None:
        """SIGKILL."""
        with self._lock:
            process.was_condemned = True
            self._kill(process)

    def arm(self, process: Process, fault: str) -> subprocess.Popen[bytes] | None:
        """Make the process kill (or pause) itself at its next visit of a fault point; returns the current process."""
        with self._lock:
            process.was_condemned = True
            process.fault_file.parent.mkdir(exist_ok=True)
            process.fault_file.with_suffix(".new").write_text(fault)
            process.fault_file.with_suffix(".new").rename(process.fault_file)
            return process.popen

    def disarm(self, process: Process) -> None:
        process.fault_file.unlink(missing_ok=True)

    def pause(self, process: Process) -> None:
        """SIGSTOP."""
        with self._lock:
            if process.is_alive and process.popen is not None:
                process.is_paused = True
                process.popen.send_signal(signal.SIGSTOP)

    def resume(self, process: Process) -> None:
        """Send SIGCONT, no matter who paused the process."""
        with self._lock:
            process.is_paused = False
            if process.is_alive and process.popen is not None:
                process.popen.send_signal(signal.SIGCONT)

    def has_stopped_itself(self, process: Process) -> bool:
        """True if the process is paused (state T, Linux only)."""
        with suppress(OSError, IndexError):
            if process.popen is not None:
                stat = Path(f"/proc/{process.popen.pid}/stat").read_text()
                return stat.rpartition(")")[2].split()[0] == "T"
        return False

    def stop(self) -> None:
        """Stop all processes: SIGTERM, wait, SIGKILL."""
        with self._lock:
            self._stopping = True
            alive = [p for p in self.processes.values() if p.is_alive and p.popen is not None]
            for process in alive:
                self.resume(process)
                assert process.popen is not None
                process.popen.terminate()
            deadline = time.monotonic() + STOP_TIMEOUT_S
            for process in alive:
                assert process.popen is not None
                try:
                    process.popen.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    self._kill(process)
        self._ended.set()

    def log_tails(self, num_lines: int = 15) -> str:
        """The last lines of every log, for error messages."""
        parts = []
        for file in sorted((self.home / "logs").glob("*.log")):
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()[-num_lines:]
            parts.append("\n".join([f"--- {file}", *lines]))
        return "\n".join(parts)

    def __enter__(self) -> Platform:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _kill(self, process: Process) -> None:
        if process.popen is not None and process.popen.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.popen.pid, signal.SIGKILL)
            process.popen.wait()

    def _keep_running(self) -> None:
        """Start processes that do not run, until told to stop.

        Only this thread starts processes: with `_die_with_parent`, a process ends when the thread that started it ends.
        """
        while not self._ended.is_set():
            with self._lock:
                for process in self.processes.values():
                    if not self._stopping and not process.is_alive:
                        if process.popen is not None and not process.was_condemned:
                            self.unexpected_exits[f"{process.name}: exit code {process.popen.returncode}"] += 1
                        self._start(process)
            self._ended.wait(0.05)

    def _start(self, process: Process) -> None:
        process.log_file.parent.mkdir(parents=True, exist_ok=True)
        process.was_condemned = process.is_paused = False
        environment = {**self._environment, "PAAPLUS_FAULT": f"{FROM_FILE}{process.fault_file}"}
        process.popen = start_process(process.command, environment, process.log_file)


def run_command(command: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    """Run a command to its end; returns its exit code, output and errors."""
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
    )
    return done.returncode, done.stdout, done.stderr


def start_process(command: list[str], environment: dict[str, str], log_file: Path) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own; it ends when this process ends."""
    with log_file.open("ab") as log:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    """Ask Linux to end this process when chaos ends, even by SIGKILL."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
