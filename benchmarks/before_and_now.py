"""The code before the work on speed beside that of now: the same acts, in turns, on the same machine.

    python benchmarks/before_and_now.py [--commit 5d8e869] [--rows ingest,start] [--turns 3] [--postgres] [--quick]
        [--record]

Both codes run with the packages of this environment, each as `paaplus up` in a home of its own, and are asked only
through what both have: HTTP, the command line, and the table of feedback for its size. While one is measured, all
processes of the other are suspended. Users, images and first trainings are prepared before a row is measured, with the
same photographs; each code has the base model that its first start gives it. Numbers are medians over the turns, with
their ranges; `times better` is the median of the turns' ratios. A row that a code cannot do says "not there", and one
that fails says why; then the command ends with 1. --postgres: on databases of a PostgreSQL that the script starts, the
rows that ask a database; what its own processes take is in no number but those on the wall. --quick: small numbers, to
see whether it works. Rows: see `before_and_now_rows.py`. --record keeps the result in benchmarks/results, after every
row.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from before_and_now_rows import QUICK, ROWS, Row, Sizes
from platforms import NotThereError, Platform
from recording import ROOT, record_rows

COMMIT = "5d8e869"  # the last one before decision 25
Outcome = dict[str, list[float]] | str


@contextmanager
def tree_of(commit: str) -> Iterator[tuple[str, Path]]:
    """The files of a commit in a temporary folder, and its whole name.

    Raises:
        SystemExit: git does not have it.
    """
    git = ["git", "-C", str(ROOT)]
    named = subprocess.run([*git, "rev-parse", "--verify", f"{commit}^{{commit}}"], capture_output=True, text=True)
    if named.returncode:
        raise SystemExit(f"{commit}: {named.stderr.strip()} (a shallow clone has no earlier commits)")
    with tempfile.TemporaryDirectory(prefix="paaplus-before-") as folder:
        archive = Path(folder) / "tree.tar"
        subprocess.run([*git, "archive", f"--output={archive}", named.stdout.strip()], check=True)
        with tarfile.open(archive) as files:
            files.extractall(Path(folder) / "tree", filter="data")
        yield named.stdout.strip(), Path(folder) / "tree"


@contextmanager
def databases(num: int) -> Iterator[list[str]]:
    """URLs of so many empty databases of a PostgreSQL that is started."""
    sys.path.insert(0, str(ROOT))
    from tests.support import servers

    server = servers.postgres()
    server.start()
    try:
        with ExitStack() as stack:
            yield [stack.enter_context(servers.new_postgres_database(server.url)) for _ in range(num)]
    finally:
        server.close()


def in_turns(row: Row, platforms: Sequence[Platform], turns: int, sizes: Sizes) -> dict[str, Outcome]:
    """What each platform gave, by its name: lists by turn, or why there are none."""
    outcomes: dict[str, Outcome] = {platform.name: {} for platform in platforms}
    for turn in range(turns):
        for platform in platforms:
            so_far = outcomes[platform.name]
            if isinstance(so_far, str):
                continue
            try:
                for what, value in alone(row, platform, platforms, turn, sizes).items():
                    so_far.setdefault(what, []).append(value)
            except NotThereError as error:
                outcomes[platform.name] = f"not there ({error})"
            except Exception as error:  # the other rows are measured all the same
                outcomes[platform.name] = f"failed ({type(error).__name__}: {str(error)[:300]})"
    return outcomes


def alone(row: Row, platform: Platform, platforms: Sequence[Platform], turn: int, sizes: Sizes) -> dict[str, float]:
    """Measure one turn of one platform while the others are suspended."""
    others = [other for other in platforms if other is not platform]
    for other in others:
        other.suspend()
    try:
        if row.runs:
            platform.ensure_running()
        return row.measure(platform, turn, sizes)
    finally:
        for other in others:
            other.go_on()


def lines(name: str, outcomes: dict[str, Outcome], loads: tuple[float, float]) -> list[dict[str, object]]:
    """One row for each number, with both codes' medians, ranges and turns."""
    load = [round(each, 1) for each in loads]
    whats = dict.fromkeys(what for each in outcomes.values() if isinstance(each, dict) for what in each)
    if not whats:
        return [{"row": name, "what": name, **outcomes, "load": load}]
    found = []
    for what in whats:
        line: dict[str, object] = {"row": name, "what": what}
        for code, outcome in outcomes.items():
            values = outcome if isinstance(outcome, str) else outcome.get(what)
            if values is None:
                values = "not there"
            line[code] = values if isinstance(values, str) else statistics.median(values)
            if not isinstance(values, str):
                line[f"{code}_turns"] = values
        if "before_turns" in line and "now_turns" in line:
            line["times_better"] = times_better(what, line["before_turns"], line["now_turns"])  # type: ignore[arg-type]
        found.append({**line, "load": load})
    return found


def times_better(what: str, before: list[float], now: list[float]) -> float | None:
    """Median of the turns' ratios; None: one of the numbers is 0."""
    pairs = list(zip(before, now, strict=False))
    if not all(value > 0 for pair in pairs for value in pair):
        return None
    return statistics.median(after / earlier if is_rate(what) else earlier / after for earlier, after in pairs)


def is_rate(what: str) -> bool:
    return " a second" in what


def shown(found: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """The lines as a table for people."""
    return [
        {
            "what": line["what"],
            "before": told(line["before"], line.get("before_turns")),  # type: ignore[arg-type]
            "now": told(line["now"], line.get("now_turns")),  # type: ignore[arg-type]
            "times better": told(line.get("times_better")),
            "load": " to ".join(f"{each}" for each in line["load"]),  # type: ignore[attr-defined]
        }
        for line in found
    ]


def told(value: object, turns: Sequence[float] | None = None) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    if turns is None or len(turns) < 2:
        return number(value)
    return f"{number(value)} ({number(min(turns))} to {number(max(turns))})"


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:.3g}" if abs(value) < 1_000 else f"{float(f'{value:.3g}'):,.0f}"


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", default=COMMIT, help=f"the code before; {COMMIT} if none is given")
    parser.add_argument("--rows", default="", help=f"of {','.join(ROWS)}; all if none are given")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    named = [name for name in options.rows.split(",") if name]
    if unknown := sorted(set(named) - set(ROWS)):
        parser.error(f"no such rows: {', '.join(unknown)}; known: {', '.join(ROWS)}")
    if options.turns < 1:
        parser.error("--turns: at least 1")
    options.names = [
        name for name in ROWS if (name in named if named else ROWS[name].on_postgres or not options.postgres)
    ]
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    kind = "postgresql" if options.postgres else "sqlite"
    sizes = QUICK if options.quick else Sizes()
    given = f" --rows {options.rows}" if options.rows else ""
    given += " --postgres" if options.postgres else ""
    given += " --quick" if options.quick else ""
    command = f"python benchmarks/before_and_now.py --commit {options.commit} --turns {options.turns}{given}"
    found: list[dict[str, object]] = []
    with ExitStack() as stack:
        commit, tree = stack.enter_context(tree_of(options.commit))
        urls = stack.enter_context(databases(2)) if options.postgres else ["", ""]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paaplus-homes-")))
        platforms = [
            Platform(name, code, folder / name, sizes.images, url)
            for (name, code), url in zip({"before": tree, "now": ROOT}.items(), urls, strict=True)
        ]
        for platform in platforms:
            stack.callback(platform.stop)
        conditions: dict[str, object] = {
            "commit_before": commit, "database": kind, "turns": options.turns,
            "load_average_1m_at_first": round(os.getloadavg()[0], 1),
        }  # fmt: skip
        for name in options.names:
            clock, load = time.monotonic(), os.getloadavg()[0]
            outcomes = in_turns(ROWS[name], platforms, options.turns, sizes)
            more = lines(name, outcomes, (load, os.getloadavg()[0]))
            for line in shown(more):
                print(" | ".join(str(value) for value in line.values()), flush=True)
            print(f"({name}: {time.monotonic() - clock:.0f} s)", file=sys.stderr, flush=True)
            found += more
            if options.record:
                name_of_result = "before-and-now" + ("-postgresql" if options.postgres else "")
                record_rows(name_of_result, command, found, conditions=conditions, shown=shown(found))
    if any(str(line[name]).startswith("failed") for line in found for name in ("before", "now")):
        sys.exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # in order: processes and folders go
    main()
