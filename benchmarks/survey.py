"""What surveys tell of taste: the columns of users.csv, pairs of images, the same shuffled, and as comparisons.

    python benchmarks/survey.py --data DIR [--split FILE.py] [--record]

Runs `paaplus evaluate survey` (seeds 0, 1, 2, all test people) with 10 pairs, and with 4 and 20. It needs a folder with
80 people or more, for an encoder is learned from 50 at least; there are fewer in the built-in set, so that without
--data (or PAAPLUS_BENCH_DATA) there is nothing to measure. --record keeps the results in benchmarks/results, with
date, commit and load.
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

from kshot import ROOT, circumstances, forget_folders

RUNS = {"survey": 10, "survey-4-pairs": 4, "survey-20-pairs": 20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("PAAPLUS_BENCH_DATA")
    parser.add_argument("--data", type=Path, default=Path(given) if given else None)
    parser.add_argument("--split", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    if options.data is None:
        print("nothing to measure without --data: an encoder is learned from 50 people at least")
        return
    paaplus = str(Path(sys.executable).with_name("paaplus"))
    common = ["--data", str(options.data), "--seeds", options.seeds]
    common += ["--split", str(options.split)] if options.split else []
    folder = ROOT / "benchmarks" / "results" / f"{datetime.now(UTC):%Y-%m-%d}-survey-{options.data.name}"
    for name, num_pairs in RUNS.items():
        print(f"-- {name}", flush=True)
        with tempfile.TemporaryDirectory() as scratch:  # every run writes files of the same names
            record = ["--out", scratch] if options.record else []
            subprocess.run([paaplus, "evaluate", "survey", "--pairs", str(num_pairs), *common, *record], check=True)
            if options.record:
                folder.mkdir(parents=True, exist_ok=True)
                for suffix in (".json", ".md"):
                    shutil.move(Path(scratch, f"survey{suffix}"), folder / f"{name}{suffix}")
                forget_folders(folder / f"{name}.json")
    if options.record:
        split = ["--split", options.split.name] if options.split else []
        told = ["python", "benchmarks/survey.py", "--data", options.data.name, *split, "--seeds", options.seeds]
        (folder / "run.json").write_text(json.dumps(circumstances(" ".join(told)), indent=2) + "\n")


if __name__ == "__main__":
    main()
