"""How long the command line and `paaplus up` take to start, and what an idle platform costs.

    python benchmarks/startup.py [--repeats 5] [--idle-s 30] [--record]

Commands and imports: processor seconds of the fastest of --repeats processes, children included; the peer is a process
that imports FastAPI, SQLAlchemy and NumPy. Bytecode of our modules is kept, as that of installed packages is, also
where PYTHONDONTWRITEBYTECODE is set; a first run that is not counted makes it. `up`: seconds on the wall until
`/readyz` answers 200, in a new home and again in the same one, with processor seconds of all its processes until then.
`idle`: per cent of one core and memory (proportional set size, so that shared pages count once) of all its processes,
--idle-s seconds after 10 of rest. Linux only. --record keeps the result in benchmarks/results.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recording import record_rows

PAAPLUS = str(Path(sys.executable).with_name("paaplus"))
READY_S, REST_S = 300.0, 10.0
PROCESSES = {
    "paaplus --version": [PAAPLUS, "--version"],
    "paaplus --help": [PAAPLUS, "--help"],
    "import paaplus.api.app": [sys.executable, "-c", "import paaplus.api.app"],
    "peer: import fastapi, sqlalchemy, numpy": [sys.executable, "-c", "import fastapi, sqlalchemy, numpy"],
}
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def started(command: list[str]) -> tuple[float, float]:
    """Processor seconds, and seconds on the wall, of a process from its start to its end."""
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall_s, after = time.perf_counter() - clock, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall_s


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += family(int(child))
    return found


def processor_s(pid: int) -> float:
    """Of a process and its descendants, those that ended included."""
    total = 0
    for each in family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(value) for value in fields[11:15])  # its own time and that of its ended children
    return total / TICKS_PER_S


def memory_mb(pid: int) -> float:
    total = 0
    for each in family(pid):
        [line] = [
            line for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:")
        ]
        total += int(line.split()[1])
    return total / 1024


@contextmanager
def up(home: Path) -> Iterator[tuple[int, float]]:
    """`paaplus up` when it is ready: its process, and the seconds on the wall that this took."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PAAPLUS_HOME": str(home)}
    clock = time.perf_counter()
    process = subprocess.Popen(
        [PAAPLUS, "up", "--port", str(port)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not is_ready(port):
            if process.poll() is not None or time.perf_counter() - clock > READY_S:
                raise SystemExit("paaplus up is not ready")
            time.sleep(0.02)
        yield process.pid, time.perf_counter() - clock
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def measure(repeats: int, idle_s: float) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []

    def tell(**row: object) -> None:
        found.append(row)
        print(" | ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))

    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for what, command in PROCESSES.items():
        started(command)
        cpu_s, wall_s = min(started(command) for _ in range(repeats))
        tell(what=what, cpu_s=cpu_s, wall_s=wall_s)
    with tempfile.TemporaryDirectory() as folder, up(Path(folder)):
        pass
    with tempfile.TemporaryDirectory() as folder:
        for what in ("paaplus up, in a new home", "paaplus up, again"):
            with up(Path(folder)) as (pid, wall_s):
                tell(what=what, cpu_s=processor_s(pid), wall_s=wall_s)
                if what.endswith("again"):
                    time.sleep(REST_S)
                    before_s, clock = processor_s(pid), time.perf_counter()
                    time.sleep(idle_s)
                    share = (processor_s(pid) - before_s) / (time.perf_counter() - clock)
                    tell(what="idle", cpu_percent=100 * share, memory_mb=memory_mb(pid), processes=len(family(pid)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--idle-s", type=float, default=30.0)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    found = measure(options.repeats, options.idle_s)
    if options.record:
        given = f"--repeats {options.repeats} --idle-s {options.idle_s:g}"
        record_rows("startup", f"python benchmarks/startup.py {given}", found)


if __name__ == "__main__":
    main()
