"""The starter base model: a fitted head of `lite2` and a taste prior, shipped as numbers with their card.

`python -m tests.developer.make_starter` makes the files beside this one. It needs the ratings that the card names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import TastePrior
from paaplus.starter.float16 import from_float16

NAME: Final = "starter"
BASE_MODEL_FILE: Final = "base_model.safetensors"
TASTE_PRIOR_FILE: Final = "taste_prior.safetensors"
FACTS_FILE: Final = "facts.json"
CARD_FILE: Final = "card.md"


@dataclass(frozen=True, slots=True)
class Starter:
    """What a deployment registers when it has no base model of its own."""

    base: BaseScorer
    prior: TastePrior
    config: dict[str, Any]  # of the base model: its extractor, and what it was fitted to
    base_metrics: dict[str, Any]
    prior_metrics: dict[str, Any]
    card: str  # Markdown


@cache
def load() -> Starter:
    """The starter base model, read once per process from the files of this package."""
    folder = files(__name__)
    facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    return Starter(
        base=BaseScorer.from_bytes(from_float16((folder / BASE_MODEL_FILE).read_bytes())),
        prior=TastePrior.from_bytes(from_float16((folder / TASTE_PRIOR_FILE).read_bytes())),
        config=facts["config"],
        base_metrics=facts["base_metrics"],
        prior_metrics=facts["prior_metrics"],
        card=(folder / CARD_FILE).read_text(encoding="utf-8"),
    )
