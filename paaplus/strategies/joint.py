"""Start over from zero change on all feedback there ever was: nothing depends on how it came in increments.

Beside `cumulative`, which goes on from the parent, it forgets what only the parent knows, and spends its steps on the
whole way from zero at every increment.
"""

from dataclasses import replace

import numpy as np

from paaplus.configs import TrainingConfig
from paaplus.records import ComparedSet, RatedSet
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
    none_N, none_C = np.zeros(len(request.past), bool), np.zeros(len(request.past_compared), bool)
    return replace(
        request,
        new=RatedSet.concatenate(request.past, request.new),
        past=request.past.select(none_N),
        new_compared=ComparedSet.concatenate(request.past_compared, request.new_compared),
        past_compared=request.past_compared.select(none_C),
        parent=None,
        state=None,
    )


def plugins(config: TrainingConfig) -> list[SupervisedPlugin]:
    return []
