"""Fine-tuning: only the new feedback is trained, from the parent. What every other strategy is measured against."""

from paaplus.configs import TrainingConfig
from paaplus.strategies.avalanche_names import SupervisedPlugin
from paaplus.strategy_facts import Facts

FACTS = Facts(prior="parent", earlier="only through the parent, where training goes on")


def plugins(config: TrainingConfig) -> list[SupervisedPlugin]:
    return []
