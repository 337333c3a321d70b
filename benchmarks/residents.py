"""What 256 users at random cost among 1,000 and among 20,000 whose adapters are in the cache, and with a small cache.

    python benchmarks/residents.py [--before DIR] [--rounds 3] [--record]

Processor milliseconds of a call of the service for one image of 256 users, without HTTP and receipts, on SQLite. `small
cache`: 256 of 1,600 users with 1 MB for adapters, which was four times too small; the others lie in a file. Everybody
has been asked for before. Each number is a median of calls in turns in one process; the ratios are medians over pairs
of turns. --before DIR: a checkout of an earlier commit, in turns with this one by processes. --record keeps the result
in benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

SCRIPT = Path(__file__).resolve()
NUM_ASKED, TURNS = 256, 24
POOLS = {size: random.Random(size).sample(range(20_000), size) for size in (1_000, 1_600, 20_000)}  # of all kinds
CASES = {"1,000 users": (1_000, 256), "20,000 users": (20_000, 256), "small cache": (1_600, 1)}


def prepare(home: Path) -> None:
    import audience
    import serving

    serving.NUM_USERS = audience.FIRST_USERS
    serving.prepare(home)
    audience.fill(home, 20_000)


def turns(home: Path) -> dict[str, list[float]]:
    """Processor milliseconds of each call by case, of the code that this process has."""
    from paaplus.db.engine import Database
    from paaplus.db.tables.governance import KeyScope
    from paaplus.services.predictions.predict import Predictor
    from paaplus.services.users.keys import Principal
    from paaplus.settings import Settings
    from paaplus.storage.blobs import BlobStore

    key = Principal("bench", KeyScope.APPLICATION, None, "bench")
    image = uuid.UUID(json.loads((home / "bench.json").read_text())["images"][0])
    predictors = {}
    for cache_mb in {cache_mb for _, cache_mb in CASES.values()}:
        settings = Settings(home=home, adapters_cache_mb=cache_mb)
        database = Database(settings.resolved_database_url)
        predictors[cache_mb] = Predictor(database, BlobStore(settings.resolved_storage_url), settings)

    def ask(cache_mb: int, users: list[int]) -> float:
        started = time.process_time()
        wanted = [(f"u{number}", image) for number in users]
        predictors[cache_mb].answer_references(key, wanted, with_receipts=False)
        return 1e3 * (time.process_time() - started)

    for cache_mb in predictors:
        ask(cache_mb, [0])  # projects the image: a call that has to keeps no user
    for start in range(0, 20_000, 1_000):
        ask(256, list(range(start, start + 1_000)))
    for start in 2 * list(range(0, 1_600, NUM_ASKED)):
        ask(1, POOLS[1_600][start : start + NUM_ASKED])
    rng = random.Random(0)
    found: dict[str, list[float]] = {case: [] for case in CASES}
    for number in range(TURNS + 1):
        # In a drawn order: what a call leaves in the processor's caches is to the next one's account.
        for case, (num_users, cache_mb) in rng.sample(list(CASES.items()), len(CASES)):
            cost_ms = ask(cache_mb, rng.sample(POOLS[num_users], NUM_ASKED))
            if number:  # the first warms up
                found[case].append(cost_ms)
    return found


def measured(tree: Path, home: Path) -> dict[str, list[float]]:
    environment = {**os.environ, "PYTHONPATH": str(tree), "PAAPLUS_LOG_LEVEL": "ERROR"}
    command = [sys.executable, str(SCRIPT), "--turns", str(home)]
    done = subprocess.run(command, check=True, env=environment, cwd=tree, stdout=subprocess.PIPE, text=True)
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def rows_of(what: str, found: dict[str, list[float]]) -> list[dict[str, object]]:
    first = found["1,000 users"]
    return [
        {
            "code": what,
            "case": case,
            "cpu_ms": statistics.median(costs),
            "ratio_to_1,000": statistics.median(cost / of_first for cost, of_first in zip(costs, first, strict=True)),
        }
        for case, costs in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each checkout")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--turns", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turns is not None:
        print(json.dumps(turns(options.turns)))
        return
    trees = {"now": SCRIPT.parents[1]} | ({"before": options.before.resolve()} if options.before is not None else {})
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        found: dict[str, dict[str, list[float]]] = {name: {case: [] for case in CASES} for name in trees}
        for _ in range(options.rounds):
            for name, tree in trees.items():
                for case, costs in measured(tree, Path(folder)).items():
                    found[name][case] += costs
    rows = [row for name, of_tree in found.items() for row in rows_of(name, of_tree)]
    for row in rows:
        print(" | ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    if options.record:
        from recording import record_rows

        before = " --before DIR" if options.before is not None else ""
        record_rows("residents", f"python benchmarks/residents.py{before} --rounds {options.rounds}", rows)


if __name__ == "__main__":
    main()
