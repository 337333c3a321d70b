"""Quality of new users who are matched with expert models, and PAA+ compared with the usual approach.

    python benchmarks/matching.py --data DIR [--split FILE.py] [--limit-people N] [--record]

Runs `paaplus evaluate matching` and `paaplus evaluate paradigm` (seeds 0, 1, 2) and prints their tables. Without --data
(or PAAPLUS_BENCH_DATA) it uses the built-in set, whose people are simulated. --record keeps the results in
benchmarks/results, with date, commit and load. 150 people per seed take about half an hour on a free core.
"""

from __future__ import annotations

from pathlib import Path

from recording import builtin_set, result_folder, run_study, study_parser, write_run


def main() -> None:
    parser = study_parser(__doc__, seeds="0,1,2")
    parser.add_argument("--limit-people", type=int, help="people per seed")
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    data = options.data or builtin_set()
    folder = result_folder("matching", data) if options.record else None
    arguments = ["--seeds", options.seeds]
    arguments += ["--limit-people", str(options.limit_people)] if options.limit_people else []
    cache = ["--cache", str(options.cache)] if options.cache else []
    for study in ("matching", "paradigm"):
        run_study(study, [*arguments, *cache], data, options.split, folder)
    if folder:
        write_run(folder, "matching", data, options.split, arguments)


if __name__ == "__main__":
    main()
