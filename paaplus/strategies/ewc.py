"""Online elastic weight consolidation: parameters that earlier feedback pinned down are held near the parent's."""

from paaplus.configs import TrainingConfig
from paaplus.strategies.avalanche_names import SupervisedPlugin
from paaplus.strategies.consolidation import Consolidation, fisher
from paaplus.strategy_facts import Facts

FACTS = Facts(
    # With the importances around the parent this is Laplace's approximation of what earlier feedback left: prior
    # precision plus importance, around the parent.
    prior="parent",
    earlier="parameters are held at the parent's, by the Fisher information of earlier feedback",
    remembers=("fisher",),
    settings=("ewc_lambda", "ewc_decay"),
)


def plugins(config: TrainingConfig) -> list[SupervisedPlugin]:
    return [Consolidation("fisher", config.ewc_lambda, config.ewc_decay, fisher)]
