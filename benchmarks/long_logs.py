"""Feedback judged as a long log, beside the same feedback judged as a short one: what people are served, and windows.

    python benchmarks/long_logs.py --data DIR [--seeds 0,1,2] [--people 30] [--from 64] [--directions 48] [--cache DIR]
    python benchmarks/long_logs.py --simulated 12 [--directions 48]

The first is the gate study. People of the data have rated some hundred images, so that logs count as long from 64
answers on, not from 256: the directions of the evidence are then those of 64 or 80 of up to 100 ratings. It is run
without the study's own memory of windows, which is of other directions than each verdict's. Prints, for each life, per
cent of people and the SRCC gained, both ways.

The second simulates people with 900 ratings in the taste space of `verdict.py`, whose dimensions matter nearly alike,
and prints after 300, 600 and 900: per cent who go live, mean first and last answer of the window, median log odds.

Shape letters: N = ratings, K = coordinates of the prior.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from verdict import TASTE_DIM, no_comparisons, prior

from paaplus.cli.main import main as cli
from paaplus.configs import GateConfig
from paaplus.evaluation.gate import run
from paaplus.gate import aspects, feedback_verdict, verdict
from paaplus.gate.long_logs import LONG_LOG
from paaplus.records import RatedSet
from paaplus.scoring.priors import design

NEVER = 10**9
SHARES = ("worse_at_end", "worse_ever", "ever_live", "live_at_end")
NUM_RATINGS, NOISE_SD, STRENGTH = 900, 1.3, 0.5


def study(options: argparse.Namespace, long_log: int) -> dict[str, dict[str, Any]]:
    """The summary by life, with logs of more than so many answers judged as long ones."""
    verdict.LONG_LOG = long_log  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as out:
        given = {"--data": options.data, "--seeds": options.seeds, "--limit-people": options.people, "--out": out}
        if options.cache:
            given["--cache"] = options.cache
        sys.argv = ["paaplus", "evaluate", "gate", *(str(each) for pair in given.items() for each in pair)]
        try:
            cli()
        except SystemExit as ended:
            if ended.code:
                raise
        summary = json.loads((Path(out) / "gate.json").read_text())["summary"]
    return {row["life"]: row for row in summary}


def print_study(options: argparse.Namespace) -> None:
    run.feedback_verdict = lambda rated, compared, prior, gate, _cache: feedback_verdict(rated, compared, prior, gate)
    short, long = study(options, NEVER), study(options, options.long_log)
    for life, row in short.items():
        shares = [f"{name} {100 * row[name]['mean']:.1f} {100 * long[life][name]['mean']:.1f}" for name in SHARES]
        gains = f"srcc_gain {row['srcc_gain']['mean']:+.4f} {long[life]['srcc_gain']['mean']:+.4f}"
        print(f"{life} ({row['num_people']}):", ", ".join([*shares, gains]))


def lives(seed: int) -> dict[str, RatedSet]:
    """A simulated person's ratings of the same images, honest or spoiled."""
    rng, half = np.random.default_rng(seed), NUM_RATINGS // 2
    taste_NR = rng.normal(size=(NUM_RATINGS, TASTE_DIM)).astype(np.float32)
    generic_N = np.clip(5 + 1.5 * rng.normal(size=NUM_RATINGS), 0, 10)

    def rated(usual_N: np.ndarray) -> np.ndarray:
        weight_P = STRENGTH * prior().factor_PKA[:, :, 0] @ rng.normal(size=TASTE_DIM + 2)
        return usual_N + design(taste_NR, generic_N) @ weight_P + rng.normal(scale=NOISE_SD, size=NUM_RATINGS)

    honest_N, other_N = rated(generic_N), rated(10 - generic_N)
    shuffled_N = rng.permutation(honest_N)
    given = {
        "honest": honest_N,
        "shuffled": shuffled_N,
        "honest, then shuffled": np.append(honest_N[:half], shuffled_N[half:]),
        "shuffled, then honest": np.append(shuffled_N[:half], honest_N[half:]),
        "every second shuffled": np.where(np.arange(NUM_RATINGS) % 2, honest_N, shuffled_N),
        "turned": np.append(honest_N[:half], other_N[half:]),
    }
    sequence_N, generic_NA = np.arange(1, NUM_RATINGS + 1), generic_N[:, None]
    return {
        life: RatedSet.of(sequence_N, taste_NR, generic_NA, np.clip(target_N, 0, 10)[:, None])
        for life, target_N in given.items()
    }


def print_simulated(num_people: int) -> None:
    people, gate = [lives(seed) for seed in range(num_people)], GateConfig()
    for life in people[0]:
        for num in (300, 600, 900):
            told = []
            for long_log in (NEVER, LONG_LOG):
                verdict.LONG_LOG = long_log  # type: ignore[misc]
                parts = [person[life].select(slice(0, num)) for person in people]
                found = [feedback_verdict(part, no_comparisons(), prior(), gate) for part in parts]
                live = 100 * np.mean([each.goes_live for each in found])
                first, last = np.mean([(each.first or 1, each.last or num) for each in found], axis=0)
                score = np.median([each.score for each in found])
                told.append(f"live {live:.0f}, window {first:.0f} to {last:.0f}, log odds {score:.1f}")
            print(f"{life}, {num}:", " | ".join(told), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--people", type=int, default=30, help="per seed")
    parser.add_argument("--from", type=int, default=64, dest="long_log")
    parser.add_argument("--directions", type=int, default=aspects.NUM_LONG_DIRECTIONS)
    parser.add_argument("--cache")
    parser.add_argument("--simulated", type=int, default=0, help="people")
    options = parser.parse_args()
    aspects.NUM_LONG_DIRECTIONS = options.directions  # type: ignore[misc]
    if options.data:
        print_study(options)
    if options.simulated:
        print_simulated(options.simulated)


if __name__ == "__main__":
    main()
