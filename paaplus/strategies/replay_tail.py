"""Replay with a tail-weighted reservoir: the ratings that a user seldom gives stay longer than those of the middle."""

from paaplus.configs import TrainingConfig
from paaplus.strategies.avalanche_names import SupervisedPlugin
from paaplus.strategies.reservoir import Replay
from paaplus.strategies.tail_reservoir import TailReservoirs
from paaplus.strategy_facts import Facts

FACTS = Facts(
    prior="start",
    earlier="a sample of it, in which rare ratings stay longer, is trained beside the new",
    remembers=("buffer",),
    settings=("buffer_size", "replay_batch_size"),
)


def plugins(config: TrainingConfig) -> list[SupervisedPlugin]:
    return [Replay(config, TailReservoirs(config))]
