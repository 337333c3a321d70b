"""Run every benchmark whose numbers stand in a document, one after the other, with the options that the documents name.

    python benchmarks/all.py [--only serving,ingest] [--list] [options for every script, as --record]

What needs PostgreSQL starts one of its own. A benchmark that fails is told, and the others run; then this command fails
at the end. With PAAPLUS_BENCH_DATA=DIR, quality is measured on that data folder, else on the built-in set.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

# Script and options, in the order of the documents: quality, trainings, feedback, starts, serving, growth, abuse.
RUNS: tuple[tuple[str, ...], ...] = (
    ("kshot",),
    ("stream",),
    ("gate",),
    ("matching",),
    ("reviews",),
    ("survey",),
    ("cohort",),
    ("training", "--users", "64", "--claim", "64", "--images", "1000,10000,50000", "--history", "10,1000"),
    ("training", "--users", "8", "--claim", "1", "--images", "1000", "--history", "10,1000,10000"),
    ("training", "--users", "8", "--claim", "1", "--images", "12000", "--history", "10,1000,10000", "--once"),
    ("verdict",),
    ("workers",),
    ("freshness", "--users", "12", "--rates", "50,100,200"),
    ("freshness", "--users", "12", "--rates", "50,100,200", "--postgres"),
    ("bursts",),
    ("lock_waits",),
    ("ingest", "--seconds", "2"),
    ("ingest", "--seconds", "2", "--postgres"),
    ("scan",),
    ("scan", "--postgres", "--users", "1000000"),
    ("rollback",),
    ("rollback", "--postgres"),
    ("startup",),
    ("layout",),
    ("peers",),
    ("serving",),
    ("residents",),
    ("audience",),
    ("extraction",),
    ("missing",),
    ("missing", "--postgres"),
    ("sizes",),
    ("sizes", "--postgres"),
    ("scale",),
    ("many_photos",),
    ("physiqueframe",),
    ("studio",),
    ("before_and_now",),
    ("before_and_now", "--postgres"),
    ("abuse", "--seconds", "10", "--turns", "2"),
)


def chosen(only: str) -> list[tuple[str, ...]]:
    """The runs of these scripts, separated by commas or spaces; all of them for an empty text.

    Raises:
        SystemExit: a script has no run here.
    """
    names = only.replace(",", " ").split()
    if unknown := sorted(set(names) - {script for script, *_ in RUNS}):
        raise SystemExit(f"no such benchmark: {', '.join(unknown)}; --list names them")
    return [run for run in RUNS if not names or run[0] in names]


def command_of(run: Sequence[str], options: Sequence[str] = ()) -> str:
    script, *given = run
    return " ".join(["python", f"benchmarks/{script}.py", *given, *options])


def measure(runs: Sequence[tuple[str, ...]], options: Sequence[str]) -> list[tuple[str, float]]:
    """Run all; returns those that failed, with how many seconds each took."""
    failed = []
    started = time.monotonic()
    for number, run in enumerate(runs, 1):
        told = command_of(run, options)
        print(f"== {number} of {len(runs)}, after {(time.monotonic() - started) / 60:.0f} min: {told}", flush=True)
        clock = time.monotonic()
        script, *given = run
        done = subprocess.run([sys.executable, str(FOLDER / f"{script}.py"), *given, *options], check=False)
        took_s = time.monotonic() - clock
        if done.returncode:
            failed.append((told, took_s))
        print(f"   {'failed' if done.returncode else 'done'} after {took_s:.0f} s", flush=True)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="scripts, separated by commas")
    parser.add_argument("--list", action="store_true", help="print the commands, and run nothing")
    options, others = parser.parse_known_args()
    runs = chosen(options.only)
    if options.list:
        print("\n".join(command_of(run, others) for run in runs))
        return
    failed = measure(runs, others)
    for told, took_s in failed:
        print(f"failed after {took_s:.0f} s: {told}", file=sys.stderr)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
