"""How long the command line and `paaplus up` take to start, and what an idle platform costs.

    python benchmarks/startup.py [--repeats 5] [--idle-s 30] [--record]

Commands and imports: processor seconds of the fastest of --repeats processes, children included; the peer is a process
that imports FastAPI, SQLAlchemy and NumPy, and one that gives NumPy a single thread, as paaplus does: others take
processor time while they wait. Bytecode of our modules is kept, as that of installed packages is, also
where PYTHONDONTWRITEBYTECODE is set; a first run that is not counted makes it. `up`: seconds on the wall until
`/readyz` answers 200, in a new home and again in the same one, with processor seconds of all its processes until then.
`idle`: per cent of one core and memory (proportional set size, so that shared pages count once) of all its processes,
--idle-s seconds after 10 of rest. Linux only. --record keeps the result in benchmarks/results.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from processes import PAAPLUS, family, memory_mb, processor_s, started, up
from recording import record_rows

REST_S = 10.0
ONE_THREAD = "import os; os.environ['OPENBLAS_NUM_THREADS'] = '1'; "
PROCESSES = {
    "paaplus --version": [PAAPLUS, "--version"],
    "paaplus --help": [PAAPLUS, "--help"],
    "import paaplus.api.app": [sys.executable, "-c", "import paaplus.api.app"],
    "peer: import fastapi, sqlalchemy, numpy": [sys.executable, "-c", "import fastapi, sqlalchemy, numpy"],
    "the same, one thread": [sys.executable, "-c", ONE_THREAD + "import fastapi, sqlalchemy, numpy"],
}


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
