"""Replay and synaptic intelligence together: the buffer keeps what it holds, the penalty what has left it."""

from paaplus.configs import TrainingConfig
from paaplus.strategies.avalanche_names import SupervisedPlugin
from paaplus.strategies.replay import Replay
from paaplus.strategies.si import PathIntegral
from paaplus.strategy_facts import Facts

FACTS = Facts(
    prior="start",
    earlier="a uniform sample is trained again, and parameters are held by how much moving each lowered the loss",
    remembers=("buffer", "path"),
    settings=("buffer_size", "replay_batch_size", "si_lambda", "ewc_decay"),
)


def plugins(config: TrainingConfig) -> list[SupervisedPlugin]:
    return [Replay(config), PathIntegral(config.si_lambda, config.ewc_decay)]
