"""Error of a tool's pseudo labels after experts' reviews, with one expert per tool and with two.

    python benchmarks/reviews.py --data DIR [--split FILE.py] [--people N] [--record]

Runs `paaplus evaluate reviews` (seeds 0, 1, 2) for two experts, who together reach 200 reviews, and for one. Without
--data (or PAAPLUS_BENCH_DATA) it uses the built-in set, whose people are simulated and rate fewer images. --record
keeps the results in benchmarks/results, with date, commit and load. It is not part of `make bench`: it trains after
every 25 reviews of every person, which takes some seconds per person on one core.
"""

from __future__ import annotations

from recording import builtin_set, result_folder, run_study, study_parser, write_run

RUNS: dict[str, list[str]] = {"two-experts": ["--experts-per-tool", "2"], "one-expert": []}


def main() -> None:
    parser = study_parser(__doc__, seeds="0,1,2")
    parser.add_argument("--people", default="50", help="people per seed")
    parser.add_argument("--counts", default="0,25,50,100,200", help="numbers of reviews")
    options = parser.parse_args()
    data = options.data or builtin_set()
    folder = result_folder("reviews", data) if options.record else None
    arguments = ["--seeds", options.seeds, "--limit-people", options.people, "--counts", options.counts]
    for name, extra in RUNS.items():
        run_study("reviews", [*arguments, *extra], data, options.split, folder, name)
    if folder:
        own = ["--seeds", options.seeds, "--people", options.people, "--counts", options.counts]
        write_run(folder, "reviews", data, options.split, own)


if __name__ == "__main__":
    main()
