"""What experts' reviews do for a tool's pseudo labels: `paaplus evaluate reviews`, seeds 0, 1, 2.

Two experts who teach it together, and so reach 200 reviews; and one expert alone.

    python benchmarks/reviews.py --data DIR [--split FILE.py] [--people N] [--record]

Without --data (or PAAPLUS_BENCH_DATA) it writes and uses the built-in set, whose people are simulated and rate fewer
images. --record keeps the results in benchmarks/results, with date, commit and load. Not part of `make bench`: it
learns anew after every 25 reviews of every person, a few seconds each on one core.
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
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--people", default="50", help="people a seed")
    parser.add_argument("--counts", default="0,25,50,100,200")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    data = options.data or builtin_set()
    folder = ROOT / "benchmarks" / "results" / f"{datetime.now(UTC):%Y-%m-%d}-reviews-{data.name}"
    common = ["--data", str(data), "--seeds", options.seeds, "--limit-people", options.people]
    common += ["--counts", options.counts, *(["--split", str(options.split)] if options.split else [])]
    for name, extra in {"two-experts": ["--experts-per-tool", "2"], "one-expert": []}.items():
        print(f"-- {name}", flush=True)
        record = ["--out", str(folder)] if options.record else []
        paaplus = str(Path(sys.executable).with_name("paaplus"))
        subprocess.run([paaplus, "evaluate", "reviews", *common, *extra, *record], check=True)
        if options.record:
            for suffix in (".json", ".md"):
                (folder / f"reviews{suffix}").rename(folder / f"{name}{suffix}")
            forget_folders(folder / f"{name}.json")
    if options.record:
        split = f" --split {options.split.name}" if options.split else ""
        told = (
            f"python benchmarks/reviews.py --data {data.name}{split} --seeds {options.seeds} --people {options.people}"
        )
        (folder / "run.json").write_text(json.dumps(circumstances(told), indent=2) + "\n")


if __name__ == "__main__":
    main()
