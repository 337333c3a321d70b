"""What each strategy knows, keeps and costs over a stream of ratings, steady and with a declared drift.

    python benchmarks/stream.py --data DIR [--split FILE.py] [--people N] [--also LEARNER] [--record]

Runs `paaplus evaluate stream` (every adapter and strategy, seeds 0 to 4) and prints its tables. Without --data (or
PAAPLUS_BENCH_DATA) it writes and uses the built-in set, whose people are simulated. --record keeps the result in
benchmarks/results, with date, commit and load.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("PAAPLUS_BENCH_DATA")
    parser.add_argument("--data", type=Path, default=Path(given) if given else None)
    parser.add_argument("--split", type=Path)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--people", default="8", help="people a seed")
    parser.add_argument("--also", action="append", default=[], help="one more learner: taste_vector:bayes+prior")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    data = options.data or builtin_set()
    arguments = ["--seeds", options.seeds, "--people", options.people]
    arguments += [part for learner in options.also for part in ("--also", learner)]
    paaplus = str(Path(sys.executable).with_name("paaplus"))
    command = [paaplus, "evaluate", "stream", "--data", str(data), *arguments]
    command += ["--split", str(options.split)] if options.split else []
    if options.record:
        folder = ROOT / "benchmarks" / "results" / f"{datetime.now(UTC):%Y-%m-%d}-stream-{data.name}"
        subprocess.run([*command, "--out", str(folder)], check=True)
        forget_folders(folder / "stream.json")
        split = ["--split", options.split.name] if options.split else []
        told = ["python", "benchmarks/stream.py", "--data", data.name, *split, *arguments]
        (folder / "run.json").write_text(json.dumps(circumstances(" ".join(told)), indent=2) + "\n")
    else:
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
