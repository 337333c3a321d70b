"""How often the gate lets bad candidates live and refuses good ones, and how soon drift is found.

    python benchmarks/gate.py --data DIR [--split FILE.py] [--people N] [--gradient-people N] [--record]

Runs `paaplus evaluate gate` (seeds 0, 1, 2; the closed form on known and on fresh images, then the bottleneck with
fewer people, for it takes longer) and `paaplus evaluate drift`. Without --data (or PAAPLUS_BENCH_DATA) it writes and
uses the built-in set, whose people are simulated and rate fewer images. --record keeps the results in
benchmarks/results, with date, commit and load.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from kshot import ROOT, builtin_set, circumstances, forget_folders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("PAAPLUS_BENCH_DATA")
    parser.add_argument("--data", type=Path, default=Path(given) if given else None)
    parser.add_argument("--split", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--people", default="60", help="people a seed")
    parser.add_argument("--gradient-people", default="8", help="people a seed for the bottleneck")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    data = options.data or builtin_set()
    paaplus = str(Path(sys.executable).with_name("paaplus"))
    common = ["--data", str(data), "--seeds", options.seeds]
    common += ["--split", str(options.split)] if options.split else []
    people = ["--limit-people", options.people]
    gradient = ["--learner", "bottleneck:replay_ewc", "--limit-people", options.gradient_people]
    runs = {
        "gate": ["gate", *people],
        "gate-fresh-support": ["gate", *people, "--fresh-support", "--k", "10,25,50"],
        "gate-bottleneck": ["gate", *gradient],
        "drift": ["drift", *people],
    }
    if not options.data:  # people of the built-in set rate too few images for the half, or for a drift
        runs = {"gate": ["gate", "--k", "10,25", *people], "gate-bottleneck": ["gate", "--k", "10,25", *gradient]}
    folder = ROOT / "benchmarks" / "results" / f"{datetime.now(UTC):%Y-%m-%d}-gate-{data.name}"
    for name, arguments in runs.items():
        print(f"-- {name}", flush=True)
        with tempfile.TemporaryDirectory() as scratch:  # every run writes files of the same names
            record = ["--out", scratch] if options.record else []
            subprocess.run([paaplus, "evaluate", *arguments, *common, *record], check=True)
            if options.record:
                folder.mkdir(parents=True, exist_ok=True)
                for suffix in (".json", ".md"):
                    shutil.move(Path(scratch, f"{arguments[0]}{suffix}"), folder / f"{name}{suffix}")
                forget_folders(folder / f"{name}.json")
    if options.record:
        split = ["--split", options.split.name] if options.split else []
        told = ["python", "benchmarks/gate.py", "--data", data.name, *split, "--seeds", options.seeds]
        told += ["--people", options.people, "--gradient-people", options.gradient_people]
        (folder / "run.json").write_text(json.dumps(circumstances(" ".join(told)), indent=2) + "\n")


if __name__ == "__main__":
    main()
