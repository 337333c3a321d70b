"""Quality after k ratings, of the default learner and of others beside it.

    python benchmarks/kshot.py --data DIR [--split FILE.py] [--answers] [--record]

Runs `paaplus evaluate kshot` (seeds 0, 1, 2) three times and prints its tables: with the defaults and further learners;
with a base model that learns no directions in which people differ; and with support images that the base model was not
fitted on. Without --data (or PAAPLUS_BENCH_DATA) it uses the built-in set, whose people are simulated and too few for a
learned prior. --record keeps the results in benchmarks/results, with date, commit and load.

With --answers it compares kinds of answers instead, with the default learner: ratings, pairs, and likes (above a
person's median, or above the middle of the scale), all made of the same ratings.
"""

from __future__ import annotations

from recording import builtin_set, result_folder, run_study, study_parser, write_run

LEARNED_PRIOR = ["--also", "taste_vector:bayes+prior", "--also", "taste_vector:bayes+prior+asked"]
RUNS: dict[str, list[str]] = {
    "kshot-without-people": ["--no-people-prior"],
    "kshot-fresh-support": ["--fresh-support"],
    "kshot": ["--also", "bottleneck:replay_ewc"],
}
ANSWERS: dict[str, list[str]] = {
    f"kshot-{answers}": ["--answers", answers] for answers in ("ratings", "pairs", "likes", "likes_cut")
}


def main() -> None:
    parser = study_parser(__doc__, seeds="0,1,2")
    parser.add_argument("--k", default="0,10,25,50,100")
    parser.add_argument("--answers", action="store_true", help="compare kinds of answers")
    options = parser.parse_args()
    data = options.data or builtin_set()
    script = "answers" if options.answers else "kshot"
    folder = result_folder(script, data) if options.record else None
    arguments = ["--k", options.k, "--seeds", options.seeds]
    for name, extra in (ANSWERS if options.answers else RUNS).items():
        more = LEARNED_PRIOR if name == "kshot" and options.data else []
        run_study("kshot", [*arguments, *extra, *more], data, options.split, folder, name)
        if folder:
            (folder / f"{name}.png").unlink(missing_ok=True)  # the table has the same numbers
    if folder:
        write_run(folder, "kshot", data, options.split, [*arguments, *(["--answers"] if options.answers else [])])


if __name__ == "__main__":
    main()
