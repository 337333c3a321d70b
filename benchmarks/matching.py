"""What matching a new user with expert models gains, and the paper's claim stage by stage.

    python benchmarks/matching.py --data DIR [--split FILE.py] [--limit-people N] [--record]

Runs `paaplus evaluate matching` and `paaplus evaluate paradigm` (seeds 0, 1, 2) and prints their tables. Without --data
(or PAAPLUS_BENCH_DATA) it writes and uses the built-in set, whose people are simulated. --record keeps the results in
benchmarks/results, with date, commit and load. About half an hour on a free core for 150 people a seed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from kshot import ROOT, builtin_set, circumstances, forget_folders

RUNS = ("matching", "paradigm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("PAAPLUS_BENCH_DATA")
    parser.add_argument("--data", type=Path, default=Path(given) if given else None)
    parser.add_argument("--split", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--limit-people", type=int)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    data = options.data or builtin_set()
    folder = ROOT / "benchmarks" / "results" / f"{datetime.now(UTC):%Y-%m-%d}-matching-{data.name}"
    for name in RUNS:
        command = [str(Path(sys.executable).with_name("paaplus")), "evaluate", name, "--data", str(data)]
        command += ["--seeds", options.seeds]
        command += ["--split", str(options.split)] if options.split else []
        command += ["--limit-people", str(options.limit_people)] if options.limit_people else []
        command += ["--cache", str(options.cache)] if options.cache else []
        print(f"-- {name}", flush=True)
        subprocess.run([*command, *(["--out", str(folder)] if options.record else [])], check=True)
        if options.record:
            forget_folders(folder / f"{name}.json")
    if options.record:
        split = f" --split {options.split.name}" if options.split else ""
        limit = f" --limit-people {options.limit_people}" if options.limit_people else ""
        told = f"python benchmarks/matching.py --data {data.name}{split} --seeds {options.seeds}{limit}"
        (folder / "run.json").write_text(json.dumps(circumstances(told), indent=2) + "\n")


if __name__ == "__main__":
    main()
