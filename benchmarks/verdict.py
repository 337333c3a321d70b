"""Processor milliseconds of the gate's verdict on all feedback of one user.

    python benchmarks/verdict.py [--ratings 10,80,1000,10000] [--repeats 5] [--record]

Random ratings of random images (seed 0) in a taste space of 256 dimensions, with a prior whose scales fall from 2 to .2
of the noise. A row is the fastest of the repeats, after one that warms up. --record keeps the result.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from recording import record_rows

from paaplus.configs import GateConfig
from paaplus.gate import feedback_verdict
from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring.priors import TastePrior

TASTE_DIM = 256


def prior() -> TastePrior:
    scale_P = np.concatenate([[0.5, 0.3], 0.25 * np.linspace(2.0, 0.2, TASTE_DIM)])
    return TastePrior("b" * 64, np.zeros((TASTE_DIM + 2, 1)), np.diag(scale_P)[:, :, None], np.array([1.3]))


def ratings(count: int, rng: np.random.Generator) -> RatedSet:
    taste_NR = rng.normal(size=(count, TASTE_DIM)).astype(np.float32)
    generic_NA = np.clip(5 + 1.5 * rng.normal(size=(count, 1)), 0, 10).astype(np.float32)
    return RatedSet.of(np.arange(1, count + 1), taste_NR, generic_NA, rng.uniform(0, 10, size=(count, 1)))


def no_comparisons() -> ComparedSet:
    taste_CR, generic_CA = np.empty((0, TASTE_DIM), np.float32), np.empty((0, 1), np.float32)
    return ComparedSet.of(np.empty(0, np.int64), taste_CR, generic_CA, taste_CR, generic_CA, np.empty((0, 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", default="10,80,1000,10000")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    rng, used, compared, found = np.random.default_rng(0), prior(), no_comparisons(), []
    for count in [int(count) for count in options.ratings.split(",")]:
        rated, costs = ratings(count, rng), []
        for _ in range(options.repeats + 1):
            clock = time.process_time()
            verdict = feedback_verdict(rated, compared, used, GateConfig())
            costs.append(1e3 * (time.process_time() - clock))
        row: dict[str, object] = {"ratings": count, "cpu_ms": min(costs[1:]), "log_odds": verdict.score}
        found.append(row)
        print(row, flush=True)
    if options.record:
        record_rows("verdict", f"python benchmarks/verdict.py --ratings {options.ratings}", found)


if __name__ == "__main__":
    main()
