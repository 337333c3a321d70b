"""Start over from zero change on all feedback there ever was: nothing depends on how it came in increments."""

from dataclasses import replace

import numpy as np

from paaplus.configs import TrainingConfig
from paaplus.records import NO_COMPARISONS
from paaplus.strategies.avalanche_names import SupervisedPlugin
from paaplus.strategies.base import TrainingRequest
from paaplus.strategy_facts import Facts

FACTS = Facts(
    prior="start",
    earlier="all of it is trained again, from zero change: how it was cut into increments does not matter",
    goes_on=False,
)


def see(request: TrainingRequest) -> TrainingRequest:
    """Everything as one first increment."""
    rated, compared = request.everything()
    none = rated.select(np.zeros(len(rated), bool))
    first = replace(request, past=none, past_compared=NO_COMPARISONS, parent=None, state=None)
    return replace(first, new=rated, new_compared=compared)


def plugins(config: TrainingConfig) -> list[SupervisedPlugin]:
    return []
