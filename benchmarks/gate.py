"""What people are served while they send honest or spoiled feedback in small steps, and how soon drift is found.

    python benchmarks/gate.py --data DIR [--split FILE.py] [--people N] [--gradient-people N] [--record]

Runs `paaplus evaluate gate` (seeds 0, 1, 2) with the closed form in steps of 10, and in steps of 5, 30 and all at once
on fewer people; on fresh images; with `replay_ewc` for both adapters on fewer people, because that takes longer; and
`paaplus evaluate drift`. Without --data (or PAAPLUS_BENCH_DATA) it uses the built-in set, whose people are simulated
and rate fewer images. --record keeps the results in benchmarks/results, with date, commit and load.
"""

from __future__ import annotations

from recording import builtin_set, result_folder, run_study, study_parser, write_run


def main() -> None:
    parser = study_parser(__doc__, seeds="0,1,2")
    parser.add_argument("--people", default="150", help="people per seed")
    parser.add_argument("--gradient-people", default="20", help="people per seed for the longer runs")
    options = parser.parse_args()
    data = options.data or builtin_set()
    folder = result_folder("gate", data) if options.record else None
    people = ["--limit-people", options.people]
    fewer = ["--limit-people", options.gradient_people]
    runs = {
        "gate": ["gate", *people],
        "gate-steps": ["gate", "--increments", "5,30,100", *fewer],
        "gate-fresh-support": ["gate", *fewer, "--fresh-support", "--answers", "60"],
        "gate-replay-ewc": ["gate", "--learner", "taste_vector:replay_ewc", *fewer],
        "gate-bottleneck": ["gate", "--learner", "bottleneck:replay_ewc", *fewer],
        "drift": ["drift", *people],
    }
    if not options.data:  # people of the built-in set rate too few images for half of them, and for a drift
        runs = {"gate": ["gate", "--answers", "20", *people]}
    for name, (study, *arguments) in runs.items():
        run_study(study, [*arguments, "--seeds", options.seeds], data, options.split, folder, name)
    if folder:
        counts = ["--people", options.people, "--gradient-people", options.gradient_people]
        write_run(folder, "gate", data, options.split, ["--seeds", options.seeds, *counts])


if __name__ == "__main__":
    main()
