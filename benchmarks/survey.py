"""Gain of surveys: columns of users.csv, pairs of images, the same shuffled, and the same as comparisons.

    python benchmarks/survey.py --data DIR [--split FILE.py] [--record]

Runs `paaplus evaluate survey` (seeds 0, 1, 2, all test people) with 10, 4 and 20 pairs. It needs a data folder with 80
people or more, because a preference encoder needs 50 train people. The built-in set has fewer, so without --data (or
PAAPLUS_BENCH_DATA) nothing is measured. --record keeps the results in benchmarks/results, with date, commit and load.
"""

from __future__ import annotations

from recording import result_folder, run_study, study_parser, write_run

RUNS = {"survey": 10, "survey-4-pairs": 4, "survey-20-pairs": 20}


def main() -> None:
    options = study_parser(__doc__, seeds="0,1,2").parse_args()
    if options.data is None:
        print("nothing is measured without --data: a preference encoder needs 50 train people")
        return
    folder = result_folder("survey", options.data) if options.record else None
    arguments = ["--seeds", options.seeds]
    for name, num_pairs in RUNS.items():
        run_study("survey", ["--pairs", str(num_pairs), *arguments], options.data, options.split, folder, name)
    if folder:
        write_run(folder, "survey", options.data, options.split, arguments)


if __name__ == "__main__":
    main()
