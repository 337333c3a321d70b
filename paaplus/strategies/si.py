"""Synaptic intelligence: parameters whose moves lowered the loss are held near the parent's."""

from paaplus.configs import TrainingConfig
from paaplus.strategies.avalanche_names import SupervisedPlugin
from paaplus.strategies.path_integral import PathIntegral
from paaplus.strategy_facts import Facts

FACTS = Facts(
    prior="parent",
    earlier="parameters are held at the parent's, by how much moving each lowered the loss",
    remembers=("path",),
    settings=("si_lambda", "ewc_decay"),
)


def plugins(config: TrainingConfig) -> list[SupervisedPlugin]:
    return [PathIntegral(config.si_lambda, config.ewc_decay)]
