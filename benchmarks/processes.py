"""Not a script: processes that benchmarks start, suspend and count. Linux only."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

PAAPLUS = str(Path(sys.executable).with_name("paaplus"))
READY_S, STOP_S = 300.0, 60.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def started(
    command: list[str], environment: dict[str, str] | None = None, folder: Path | None = None
) -> tuple[float, float]:
    """Processor seconds, and seconds on the wall, of a process from its start to its end, in a folder."""
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment, cwd=folder)
    wall_s, after = time.perf_counter() - clock, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall_s


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += family(int(child))
    return found


def clock_s(pid: int) -> float:
    """Processor seconds of one process, its threads that ended included, to the nanosecond."""
    return time.clock_gettime(~pid << 3 | 2)  # as `clock_getcpuclockid` names the clock of another process


def processor_s(pid: int) -> float:
    """Of a process and its descendants, those that ended included."""
    total = 0
    for each in family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(value) for value in fields[11:15])  # its own time and that of its ended children
    return total / TICKS_PER_S


def memory_mb(pid: int) -> float:
    """Proportional set size of a process and its descendants: shared pages count once."""
    total = 0
    for each in family(pid):
        [line] = [
            line for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:")
        ]
        total += int(line.split()[1])
    return total / 1024


def signalled(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to processes and their descendants."""
    for pid in pids:
        for each in family(pid):
            with suppress(ProcessLookupError):
                os.kill(each, number)


@contextmanager
def running(
    commands: Sequence[Sequence[str]],
    environment: dict[str, str],
    folder: Path | None = None,
    log: IO[bytes] | None = None,
) -> Iterator[list[int]]:
    """Processes that are asked to end afterwards.

    Args:
        commands: one for each process.
        environment: of all of them.
        folder: in which they work; None: this process's.
        log: what they print on standard error; None: it is shown.
    """
    processes = [
        subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=log)
        for command in commands
    ]
    try:
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(STOP_S)


@contextmanager
def up(
    home: Path, *, port: int = 0, environment: dict[str, str] | None = None, ready_s: float = READY_S
) -> Iterator[tuple[int, float]]:
    """`paaplus up` when it is ready: its process, and the seconds on the wall that this took.

    Args:
        home: PAAPLUS_HOME. What the command prints is kept there in `up.log`.
        port: 0: a free one.
        environment: of its processes, besides the home; None: this process's.
        ready_s: longest wait until it is ready.
    """
    port = port or free_port()
    home.mkdir(parents=True, exist_ok=True)
    clock = time.perf_counter()
    with (home / "up.log").open("ab") as log:
        process = subprocess.Popen(
            [PAAPLUS, "up", "--port", str(port)],
            env={**(os.environ if environment is None else environment), "PAAPLUS_HOME": str(home.absolute())},
            cwd=home,  # modules of the folder that this process is in would come before those of PYTHONPATH
            stdout=log,
            stderr=log,
        )
    try:
        while not is_ready(port):
            if process.poll() is not None or time.perf_counter() - clock > ready_s:
                told = (home / "up.log").read_text(errors="replace")[-500:]
                raise RuntimeError(f"paaplus up is not ready; it printed: {told}")
            time.sleep(0.02)
        yield process.pid, time.perf_counter() - clock
    finally:
        process.terminate()
        process.wait(STOP_S)


def is_ready(port: int, path: str = "/readyz") -> bool:
    """Whether a server on this machine answers a path with 200."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def until_ready(port: int, path: str = "/healthz") -> None:
    until = time.monotonic() + READY_S
    while not is_ready(port, path):
        if time.monotonic() > until:
            raise TimeoutError("the API does not answer")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
