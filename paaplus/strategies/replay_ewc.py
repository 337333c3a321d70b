"""Replay and consolidation together: the buffer keeps what it holds, the penalty what has left it."""

from paaplus.configs import TrainingConfig
from paaplus.strategies.avalanche_names import SupervisedPlugin
from paaplus.strategies.ewc import Consolidation, fisher
from paaplus.strategies.replay import Replay
from paaplus.strategy_facts import Facts

FACTS = Facts(
    prior="start",
    earlier="a uniform sample is trained again, and parameters are held by the Fisher information of all of it",
    remembers=("buffer", "fisher"),
    settings=("buffer_size", "replay_batch_size", "ewc_lambda", "ewc_decay"),
)


def plugins(config: TrainingConfig) -> list[SupervisedPlugin]:
    return [Replay(config), Consolidation("fisher", config.ewc_lambda, config.ewc_decay, fisher)]
