"""Quality, forgetting and cost of every strategy on streams of ratings, steady and with a simulated drift.

    python benchmarks/stream.py --data DIR [--split FILE.py] [--people N] [--also LEARNER] [--record]

Runs `paaplus evaluate stream` (every adapter kind and strategy, seeds 0 to 4) and prints its tables. Without --data (or
PAAPLUS_BENCH_DATA) it uses the built-in set, whose people are simulated. --record keeps the result in
benchmarks/results, with date, commit and load.
"""

from __future__ import annotations

from recording import builtin_set, result_folder, run_study, study_parser, write_run


def main() -> None:
    parser = study_parser(__doc__, seeds="0,1,2,3,4")
    parser.add_argument("--people", default="8", help="people per seed")
    parser.add_argument("--also", action="append", default=[], help="one more learner, e.g. taste_vector:bayes+prior")
    parser.add_argument("--learner", action="append", default=[], help="only these, e.g. taste_vector:replay_ewc")
    parser.add_argument("--increment", default="10", help="ratings of an increment")
    parser.add_argument("--buffer-size", help="ratings that a replay buffer holds")
    options = parser.parse_args()
    data = options.data or builtin_set()
    folder = result_folder("stream", data) if options.record else None
    arguments = ["--seeds", options.seeds, "--people", options.people]
    for name in ("also", "learner"):
        arguments += [part for learner in getattr(options, name) for part in (f"--{name}", learner)]
    name = "stream" if options.increment == "10" else f"stream-{options.increment}"
    arguments += ["--increment", options.increment]
    if options.buffer_size:
        name += f"-buffer-{options.buffer_size}"
        arguments += ["--set", f'{{"buffer_size": {options.buffer_size}}}']
    run_study("stream", arguments, data, options.split, folder, name)
    if folder:
        write_run(folder, "stream", data, options.split, arguments)


if __name__ == "__main__":
    main()
