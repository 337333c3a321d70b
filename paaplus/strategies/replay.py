"""Experience replay: every step takes rows of a reservoir of earlier feedback beside the new ones."""

from paaplus.configs import TrainingConfig
from paaplus.strategies.avalanche_names import SupervisedPlugin
from paaplus.strategies.reservoir import Replay
from paaplus.strategy_facts import Facts

FACTS = Facts(
    prior="start",
    earlier="a uniform sample of it is trained beside the new",
    remembers=("buffer",),
    settings=("buffer_size", "replay_batch_size"),
)


def plugins(config: TrainingConfig) -> list[SupervisedPlugin]:
    return [Replay(config)]
