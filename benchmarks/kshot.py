"""How well people are known after k ratings, for the default learner and what stands beside it.

    python benchmarks/kshot.py --data DIR [--split FILE.py] [--record]

Runs `paaplus evaluate kshot` (seeds 0, 1, 2) three times and prints its tables: as it is; without directions learned
from people; and with support photographs that nobody had rated. Without --data (or PAAPLUS_BENCH_DATA) it writes and
uses the built-in set, whose people are simulated; there are too few of them for a learned prior. --record keeps the
results in benchmarks/results, with date, commit and load.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
GRADIENT = "bottleneck:replay_ewc"
PRIOR, ASKED = "taste_vector:bayes+prior", "taste_vector:bayes+prior+asked"
RUNS: dict[str, list[str]] = {
    "kshot-without-people": ["--no-people-prior"],
    "kshot-fresh-support": ["--fresh-support"],
    "kshot": ["--also", GRADIENT],  # the last: each run is written as kshot.json, and then renamed
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("PAAPLUS_BENCH_DATA")
    parser.add_argument("--data", type=Path, default=Path(given) if given else None)
    parser.add_argument("--split", type=Path)
    parser.add_argument("--k", default="0,10,25,50,100")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    data = options.data or builtin_set()
    paaplus = str(Path(sys.executable).with_name("paaplus"))
    folder = ROOT / "benchmarks" / "results" / f"{datetime.now(UTC):%Y-%m-%d}-kshot-{data.name}"
    for name, extra in RUNS.items():
        command = [paaplus, "evaluate", "kshot", "--data", str(data), "--k", options.k, "--seeds", options.seeds]
        command += [*extra, *(["--split", str(options.split)] if options.split else [])]
        if name == "kshot" and options.data:
            command += ["--also", PRIOR, "--also", ASKED]
        print(f"-- {name}", flush=True)
        subprocess.run([*command, *(["--out", str(folder)] if options.record else [])], check=True)
        if options.record:
            (folder / "kshot.png").unlink(missing_ok=True)  # the table says it; a picture only weighs
            for suffix in (".json", ".md"):
                (folder / f"kshot{suffix}").rename(folder / f"{name}{suffix}")
            forget_folders(folder / f"{name}.json")
    if options.record:
        split = f" --split {options.split.name}" if options.split else ""
        told = f"python benchmarks/kshot.py --data {data.name}{split} --k {options.k} --seeds {options.seeds}"
        (folder / "run.json").write_text(json.dumps(circumstances(told), indent=2) + "\n")


def forget_folders(file: Path) -> None:
    """Keep names, not where they lay on this machine."""
    document = json.loads(file.read_text())
    for name in ("data", "split"):
        if document["config"].get(name):
            document["config"][name] = Path(document["config"][name]).name
    file.write_text(json.dumps(document, indent=2) + "\n")


def builtin_set() -> Path:
    from paaplus.data.builtin_set.build import write_builtin_set

    folder = ROOT / "var" / "builtin"
    write_builtin_set(folder)
    return folder


def circumstances(command: str) -> dict[str, object]:
    """What a reader needs to run it again, and to judge the seconds."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    status = [*git, "status", "--porcelain", "--", ".", ":!benchmarks/results"]  # what is being written does not count
    changed = subprocess.run(status, capture_output=True, text=True).stdout.strip()
    return {
        "command": command,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit + (" with changes" if changed else ""),
        "load_average_1m": round(os.getloadavg()[0], 1),
        "num_cpus": os.cpu_count(),
    }


if __name__ == "__main__":
    main()
