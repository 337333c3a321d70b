"""Makes the starter base model's files in paaplus/starter/ from people's ratings, and its card from recorded runs.

    python -m tests.developer.make_starter DATA [--cache DIR] [--card-only]

DATA is the data folder `oasis_beauty`. The fit takes minutes; features are cached. With --card-only, the numbers stay.
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from paaplus import __version__, starter
from paaplus.data.features import folder_features
from paaplus.data.folder import DataFolder, read_folder
from paaplus.fitting.taste_prior import fit_taste_prior
from paaplus.models.base_models import load_extractor
from paaplus.pipelines.train_base import fit_base_model
from paaplus.pipelines.train_prior import ratings_by_person
from paaplus.records import Scale
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.starter.float16 import from_float16, to_float16

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "paaplus" / "starter"
EXTRACTOR = "lite2"
SCALE = Scale(1, 7)
SOURCE = "OASIS photographs, beauty ratings"
COMMAND = "python -m tests.developer.make_starter DATA"
LEARNER, WITH_PRIOR = "taste_vector:bayes", "taste_vector:bayes+prior"


def main() -> None:
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, default=ROOT / "var" / "cache")
    parser.add_argument("--card-only", action="store_true")
    options = parser.parse_args()
    if not options.card_only:
        make_numbers(options.data, options.cache)
    facts = json.loads((FOLDER / starter.FACTS_FILE).read_text())
    (FOLDER / starter.CARD_FILE).write_text(card(facts, recorded_runs()), encoding="utf-8")


def make_numbers(data: Path, cache: Path) -> None:
    """Fit base model and taste prior, write both with float16 arrays, and measure what that changes."""
    extractor = load_extractor(EXTRACTOR, None, "cpu")
    scale = (SCALE.minimum, SCALE.maximum)
    fitted, metrics = fit_base_model(extractor, data, name=starter.NAME, cache_dir=cache, scale=scale)
    stored = to_float16(fitted.to_bytes())
    base = BaseScorer.from_bytes(from_float16(stored))
    folder = read_folder(data, SCALE)
    features_ID = folder_features(folder, extractor, cache)
    prior, prior_metrics = fit_taste_prior(base, list(ratings_by_person(base, folder, features_ID).values()))
    (FOLDER / starter.BASE_MODEL_FILE).write_bytes(stored)
    (FOLDER / starter.TASTE_PRIOR_FILE).write_bytes(to_float16(prior.to_bytes()))
    facts = {
        "config": {"extractor": EXTRACTOR, "weights": None, "source": f"{SOURCE} of {len(folder.people)} people"},
        "date": datetime.now(UTC).date().isoformat(),
        "made_with": __version__,
        "categories": _categories(folder),
        "base_metrics": metrics,
        "prior_metrics": prior_metrics,
        "float16": float16_errors(fitted, base, features_ID),
    }
    (FOLDER / starter.FACTS_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def float16_errors(fitted: BaseScorer, stored: BaseScorer, features_ID: np.ndarray) -> dict[str, float]:
    """Differences of scores by float16 storage: generic ones, and deviations of 200 people drawn from the prior."""
    taste_IR, stored_IR = fitted.project(features_ID), stored.project(features_ID)
    generic_IA = np.abs(fitted.generic(taste_IR) - stored.generic(stored_IR))
    weight_RU = np.random.default_rng(0).normal(size=(taste_IR.shape[1], 200)) * fitted.prior_sd_A[0]
    deviation_IU = (taste_IR - stored_IR) @ weight_RU
    return {
        "generic_max": float(generic_IA.max()),
        "generic_mean": float(generic_IA.mean()),
        "personal_max": float(np.abs(deviation_IU).max()),
        "personal_sd": float(deviation_IU.std()),
    }


def _categories(folder: DataFolder) -> dict[str, int]:
    of_images = [folder.image_columns[image]["category"] for image in folder.images]
    return {name: of_images.count(name) for name in sorted(set(of_images))}


def recorded_runs() -> tuple[str, list[dict[str, Any]]]:
    """The newest recorded k-shot evaluation on OASIS: its folder, and its summary by k."""
    file = max(ROOT.glob("benchmarks/results/*-kshot-oasis_beauty/kshot.json"))
    return str(file.relative_to(ROOT)), json.loads(file.read_text())["summary"]


def card(facts: dict[str, Any], runs: tuple[str, list[dict[str, Any]]]) -> str:
    """The card as Markdown."""
    base, prior, errors = facts["base_metrics"], facts["prior_metrics"], facts["float16"]
    file, summary = runs
    categories = ", ".join(f"{count} {name.lower()}" for name, count in facts["categories"].items())
    rows = "\n".join(
        f"| {row['k']} | {row['generic']:.3f} | {row['personal']:.3f} | {row['gain']:+.3f} "
        f"[{row['gain_low']:.3f}, {row['gain_high']:.3f}] | {row['share_improved']:.0%} | "
        f"{row[WITH_PRIOR]['personal']:.3f} |"
        for row in summary
        if row["k"]
    )
    return f"""# The starter base model

What a deployment scores with until it has a base model of its own: a fitted head of `{EXTRACTOR}`, and a taste prior.

| | |
|---|---|
| score | beauty, 0 to 10 |
| data | {SOURCE}: {base["num_images"]:,} photographs, {base["num_ratings"]:,} ratings, 1 to 7 |
| people | {base["num_people"]}, about 200 ratings each |
| photographs | {categories}; longer side 256 pixels; 94 of 900 left out (nudity, gore, hate) |
| made | {facts["date"]}, paaplus {facts["made_with"]} |
| command | `{COMMAND}` |
| holds | numbers only: {base["taste_dim"]} taste directions, weights, variances. No photograph, no person's rating |

Among the numbers are a kernel's anchors: of some photographs, the features summed up in 256 numbers.

## How good it is

Every photograph held out once, all people in the fit: generic scores are off people's mean ratings by
{base["cv_crowd_rmse"][0]:.2f} points (root mean square), and their mean SRCC with single people's ratings is
{base["cv_srcc"]:.3f}.

Mean SRCC on new photographs after k of a person's ratings. These figures are of base models that were fitted in the
same way to *other* people and *other* photographs: three splits, 150 test people each
(`{file}`). The starter itself cannot be measured
on this data: it was fitted to all of it.

| k | generic | personal | gain, 95 % interval | people better | with the learned prior |
|---|---|---|---|---|---|
{rows}

The learned prior: {prior["num_people"]} people, {prior["rank"]} directions, {prior["explained"][0]:.0%} of the
variance.

Large arrays are stored as float16. Generic scores of the photographs change by {errors["generic_max"]:.4f} points at
most, personal deviations of 200 people drawn from the prior by {errors["personal_max"]:.4f} at most (standard
deviation {errors["personal_sd"]:.4f}).

## Limits

* The people took part in one study. Their common taste is not everybody's.
* Photographs of everyday subjects, small and sharp. Medical pictures, screenshots and drawings are rare or absent.
* Not for judging people: what was rated are photographs, not looks.
* Never use it to evaluate on OASIS. `paaplus evaluate` fits base models of its own and cannot load it.

## Terms

The photographs and ratings are research data: their authors say that OASIS may be used freely in research, and name no
licence. These numbers were learned from them; take them as free for research. For other uses, train one of your own:

    paaplus base-models train lite2 --data DIR

Cite both: Kurdi, Lozano & Banaji (2017), Behavior Research Methods 49, 457-470 (photographs); Brielmann & Pelli
(2019), Frontiers in Psychology 10:2420 (ratings).
"""


if __name__ == "__main__":
    main()
