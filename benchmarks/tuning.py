"""Which settings strategies should have, chosen on each seed's train side alone.

    python benchmarks/tuning.py --data DIR [--split FILE.py] [--people N] [--cache DIR] [--record]

For every seed that is reported elsewhere, the train people and train images of its split are split again, and every
setting below is measured there (`run_stream`): neither the people nor the images of the seed's own test side are seen.
A seed's choice may only be used for what is reported of that seed; where all seeds agree, one default is honest. Test
people of other seeds are among a seed's train people: there are too few people and images outside all test sides (see
decision 14).

The criterion, declared before: SRCC on unseen images after the last increment minus the rate of negative flips, mean
over steady streams and drift.
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

from paaplus.configs import TrainingConfig
from paaplus.data.features import folder_features
from paaplus.data.folder import read_folder
from paaplus.evaluation.learner import Learner
from paaplus.evaluation.splits import load_split, split_folder, within_train_side
from paaplus.evaluation.stream.config import ALL_LEARNERS, StreamConfig
from paaplus.evaluation.stream.run import run_stream
from paaplus.evaluation.train_side import EvaluationData
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


def grid() -> list[tuple[dict[str, Any], tuple[Learner, ...]]]:
    """Changes of the default configuration, and the learners that they concern."""
    runs = []
    for i in range(4):
        change = {name: values[i] for name, values in STRENGTHS.items()}
        runs.append((change, concerned(lambda name: bool(set(facts()[name].settings) & set(STRENGTHS)))))
    runs += [(OTHERS[k], concerned(lambda name: name != "bayes")) for k in (0, 1)]
    runs.append((OTHERS[2], concerned(lambda name: "buffer" in facts()[name].remembers)))
    runs.append(({}, ALL_LEARNERS))
    return runs


def concerned(holds: Callable[[str], bool]) -> tuple[Learner, ...]:
    return tuple(learner for learner in ALL_LEARNERS if holds(learner.strategy))


def read_by(learner: Learner, change: dict[str, Any]) -> dict[str, Any]:
    """What of a change the learner reads."""
    own = set(facts()[learner.strategy].settings) | {"num_steps"}
    return {name: value for name, value in change.items() if name in own}


def main() -> None:
    parser = study_parser(__doc__, seeds="0,1,2,3,4")
    parser.add_argument("--people", type=int, default=12, help="people per seed")
    parser.add_argument("--cache", type=Path, help="folder of cached features")
    options = parser.parse_args()
    data = options.data or builtin_set()
    settings, folder = get_settings(), read_folder(data, None)
    torch.set_num_threads(settings.torch_threads)
    extractor = load_extractor("lite2", None, settings.device)
    features_ID = folder_features(folder, extractor, options.cache or settings.home / "cache")
    evaluation = EvaluationData(folder, features_ID, extractor.digest, extractor.blocks)
    make_split = load_split(options.split, data) if options.split else lambda seed: split_folder(folder, seed)
    rows: list[dict[str, Any]] = []
    for seed in map(int, options.seeds.split(",")):
        for change, learners in grid():
            config = StreamConfig(
                learners=learners,
                num_ratings=70,
                seeds=(seed,),
                limit_people=options.people,
                training=replace(TrainingConfig(), **change),
            )
            document = run_stream(evaluation, within_train_side(folder, make_split), config)
            rows += rows_of(document, seed, change, learners)
            print(f"seed {seed}: {change or 'defaults'} done", flush=True)
    text = report(rows)
    print(text)
    if options.record:
        into = result_folder("tuning", data)
        into.mkdir(parents=True, exist_ok=True)
        (into / "tuning.json").write_text(json.dumps(rows, indent=1) + "\n")
        (into / "tuning.md").write_text(text + "\n")
        write_run(into, "tuning", data, options.split, ["--seeds", options.seeds, "--people", str(options.people)])


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


def report(rows: list[dict[str, Any]]) -> str:
    """Per learner and setting the means over seeds, and which setting each seed would choose."""
    lines = [
        "| learner | setting | SRCC | flips | forgetting | criterion | chosen by seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    by_learner: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        text = ", ".join(f"{name} {value:g}" for name, value in row["change"].items()) or "defaults"
        by_learner.setdefault(row["learner"], {}).setdefault(text, []).append(row)
    for learner, settings in by_learner.items():
        best = {
            seed: max(
                settings, key=lambda text: max((criterion(r) for r in settings[text] if r["seed"] == seed), default=-9)
            )
            for seed in sorted({row["seed"] for row in rows})
        }
        for text, found in settings.items():
            mean = {name: float(np.mean([row[name] for row in found])) for name in MEASURES}
            chosen = ", ".join(str(seed) for seed, choice in best.items() if choice == text)
            value = float(np.mean([criterion(row) for row in found]))
            lines.append(
                f"| {learner} | {text} | {mean['srcc']:.4f} | {100 * mean['negative_flip_rate']:.2f} % "
                f"| {mean['forgetting']:+.3f} | {value:.4f} | {chosen} |"
            )
    return "\n".join(lines)


def criterion(row: dict[str, Any]) -> float:
    return float(row["srcc"] - row["negative_flip_rate"])


if __name__ == "__main__":
    main()
