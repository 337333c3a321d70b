"""Which settings strategies should have, chosen on each seed's train side alone.

    python benchmarks/tuning.py --data DIR [--split FILE.py] [--people N] [--learner NAME ...] [--cache DIR] [--record]
        [--beside FILE]

For every seed that is reported elsewhere, the train people and train images of its split are split again, and every
setting below is measured there (`run_stream`): neither the people nor the images of the seed's own test side are seen.
A seed's choice may only be used for what is reported of that seed; where all seeds agree, one default is honest. Test
people of other seeds are among a seed's train people: there are too few people and images outside all test sides (see
decision 14).

The criterion, declared before: SRCC on unseen images after the last increment minus the rate of negative flips, mean
over steady streams and drift. `over defaults` is its difference to the default settings in the same seed: mean over
seeds, with a 95 % interval (Student's t over seeds). A setting is taken up only if that interval is above 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recording import builtin_set, result_folder, study_parser, write_run
from scipy.stats import t as student_t

from paaplus.configs import TrainingConfig
from paaplus.data.features import folder_features
from paaplus.data.folder import read_folder
from paaplus.evaluation.learner import Learner
from paaplus.evaluation.rounds import Round
from paaplus.evaluation.splits import load_split, split_folder, within_train_side
from paaplus.evaluation.stream.config import ALL_LEARNERS, StreamConfig
from paaplus.evaluation.stream.run import fitted, run_stream
from paaplus.evaluation.train_side import EvaluationData, TrainSide
from paaplus.models.base_models import load_extractor
from paaplus.settings import get_settings
from paaplus.strategy_facts import facts

# One run of the grid sets all of these: a strategy reads its own only.
STRENGTHS = {
    "ewc_lambda": (0.1, 0.3, 1.0, 3.0),
    "si_lambda": (0.1, 0.3, 1.0, 3.0),
    "mas_lambda": (0.1, 0.3, 1.0, 3.0),
    "distillation_pool": (0.1, 0.3, 1.0, 3.0),
    "derpp_alpha": (0.1, 0.2, 0.5, 1.0),
}
OTHERS: tuple[dict[str, Any], ...] = ({"num_steps": 30}, {"num_steps": 120}, {"buffer_size": 32})


def grid(among: tuple[Learner, ...]) -> list[tuple[dict[str, Any], tuple[Learner, ...]]]:
    """Changes of the default configuration, and the learners that they concern."""
    runs: list[tuple[dict[str, Any], tuple[Learner, ...]]] = [({}, among)]
    for i in range(4):
        change = {name: values[i] for name, values in STRENGTHS.items()}
        # a strength that is the default was measured with the defaults
        other = {name for name, value in change.items() if value != getattr(TrainingConfig(), name)}
        runs.append((change, tuple(learner for learner in among if other & set(facts()[learner.strategy].settings))))
    runs += [(change, concerned(among, lambda name: name != "bayes")) for change in OTHERS[:2]]
    runs.append((OTHERS[2], concerned(among, lambda name: "buffer" in facts()[name].remembers)))
    return [(change, learners) for change, learners in runs if learners]


def concerned(among: tuple[Learner, ...], holds: Callable[[str], bool]) -> tuple[Learner, ...]:
    return tuple(learner for learner in among if holds(learner.strategy))


def read_by(learner: Learner, change: dict[str, Any]) -> dict[str, Any]:
    """What of a change the learner reads."""
    own = set(facts()[learner.strategy].settings) | {"num_steps"}
    return {name: value for name, value in change.items() if name in own}


def main() -> None:
    parser = study_parser(__doc__, seeds="0,1,2,3,4")
    parser.add_argument("--people", type=int, default=12, help="people per seed")
    parser.add_argument("--learner", action="append", default=[], help="only these, e.g. taste_vector:replay_ewc")
    parser.add_argument("--cache", type=Path, help="folder of cached features")
    parser.add_argument("--beside", type=Path, help="the tuning.json of other seeds or learners, to be told of as well")
    options = parser.parse_args()
    data = options.data or builtin_set()
    settings, folder = get_settings(), read_folder(data, None)
    torch.set_num_threads(settings.torch_threads)
    extractor = load_extractor("lite2", None, settings.device)
    features_ID = folder_features(folder, extractor, options.cache or settings.home / "cache")
    evaluation = EvaluationData(folder, features_ID, extractor.digest, extractor.blocks)
    make_split = load_split(options.split, data) if options.split else lambda seed: split_folder(folder, seed)
    among = tuple(map(Learner.parse, options.learner)) or ALL_LEARNERS
    sides: dict[int, TrainSide] = {}

    def side_of(data: EvaluationData, round_: Round) -> TrainSide:
        if round_.seed not in sides:  # a split's base model is the same for every setting
            sides[round_.seed] = fitted(data, round_)
        return sides[round_.seed]

    rows: list[dict[str, Any]] = json.loads(options.beside.read_text()) if options.beside else []
    if again := known(rows) & {(int(seed), learner.name) for seed in options.seeds.split(",") for learner in among}:
        parser.error(f"--beside holds what is asked for: {sorted(again)}")
    for seed in map(int, options.seeds.split(",")):
        for change, learners in grid(among):
            config = StreamConfig(
                learners=learners,
                num_ratings=70,
                seeds=(seed,),
                limit_people=options.people,
                training=replace(TrainingConfig(), **change),
            )
            document = run_stream(evaluation, within_train_side(folder, make_split), config, side_of=side_of)
            rows += rows_of(document, seed, change, learners)
            print(f"seed {seed}: {change or 'defaults'} done", flush=True)
        text = report(rows)
        print(text, flush=True)
        if options.record:
            into = result_folder("tuning", data)
            into.mkdir(parents=True, exist_ok=True)
            (into / "tuning.json").write_text(json.dumps(rows, indent=1) + "\n")
            (into / "tuning.md").write_text(text + "\n")
            asked = ["--seeds", options.seeds, "--people", str(options.people)]
            asked += [part for learner in options.learner for part in ("--learner", learner)]
            asked += ["--beside", options.beside.name] if options.beside else []
            write_run(into, "tuning", data, options.split, asked)


def known(rows: list[dict[str, Any]]) -> set[tuple[int, str]]:
    return {(row["seed"], row["learner"]) for row in rows}


def rows_of(
    document: dict[str, Any], seed: int, change: dict[str, Any], learners: tuple[Learner, ...]
) -> list[dict[str, Any]]:
    found = []
    for i, learner in enumerate(learners):
        each = [entries[i] for entries in document["summary"].values()]
        mean = {name: float(np.mean([entry[name]["mean"] for entry in each])) for name in MEASURES}
        found.append({"seed": seed, "learner": learner.name, "change": read_by(learner, change), **mean})
    return found


MEASURES = ("srcc", "negative_flip_rate", "forgetting")
DEFAULTS = "defaults"


def report(rows: list[dict[str, Any]]) -> str:
    """Per learner and setting the means over seeds, and which setting each seed would choose."""
    lines = [
        "| learner | setting | SRCC | flips | forgetting | criterion over defaults | chosen by seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    by_learner: dict[str, dict[str, dict[int, dict[str, Any]]]] = {}
    for row in rows:
        text = ", ".join(f"{name} {value:g}" for name, value in row["change"].items()) or DEFAULTS
        by_learner.setdefault(row["learner"], {}).setdefault(text, {})[row["seed"]] = row
    for learner, settings in by_learner.items():
        seeds = settings[DEFAULTS]
        best = {seed: max(settings, key=lambda text: criterion(settings[text].get(seed))) for seed in seeds}
        for text, found in settings.items():
            mean = {name: float(np.mean([row[name] for row in found.values()])) for name in MEASURES}
            chosen = ", ".join(str(seed) for seed, choice in best.items() if choice == text)
            over = [criterion(row) - criterion(seeds[seed]) for seed, row in found.items()]
            lines.append(
                f"| {learner} | {text} | {mean['srcc']:.4f} | {100 * mean['negative_flip_rate']:.2f} % "
                f"| {mean['forgetting']:+.3f} | {interval(over) if text != DEFAULTS else ''} | {chosen} |"
            )
    return "\n".join(lines)


def interval(over: list[float]) -> str:
    """Mean and 95 % interval of differences, one a seed."""
    mean = float(np.mean(over))
    if len(over) < 2:
        return f"{mean:+.4f}"
    half = float(student_t.ppf(0.975, len(over) - 1) * np.std(over, ddof=1) / len(over) ** 0.5)
    return f"{mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]"


def criterion(row: dict[str, Any] | None) -> float:
    return float(row["srcc"] - row["negative_flip_rate"]) if row else -np.inf


if __name__ == "__main__":
    main()
