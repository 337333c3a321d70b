"""The closed form as a worker trains it: studies learn through the same entry as what is served."""

from __future__ import annotations

from typing import cast

import numpy as np

from paaplus.configs import TrainingConfig
from paaplus.records import NO_COMPARISONS, ComparedSet, RatedSet
from paaplus.scoring.adapters import TasteVector
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import Prior
from paaplus.training import TrainingRequest, train


def learned(
    base: BaseScorer, rated: RatedSet, compared: ComparedSet = NO_COMPARISONS, prior: Prior | None = None
) -> TasteVector:
    """The taste vector of one training with `bayes` on this feedback; no prior: the base model's own."""
    request = TrainingRequest(
        strategy="bayes",
        adapter_kind="taste_vector",
        config=TrainingConfig(),
        base=base,
        new=rated,
        past=rated.select(np.zeros(len(rated), bool)),
        parent=None,
        state=None,
        new_compared=compared,
        prior=prior,
    )
    return cast(TasteVector, train(request).adapter)
