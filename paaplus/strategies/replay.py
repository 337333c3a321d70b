"""Experience replay: every step takes rows of a reservoir of earlier ratings beside the new ones."""

from __future__ import annotations

from paaplus.strategies.gradient import RememberingPlugin, Run
from paaplus.strategies.reservoir import Replay, SequenceReservoir
from paaplus.strategies.template import RegressionStrategy


def build(run: Run) -> tuple[RegressionStrategy, list[RememberingPlugin]]:
    reservoir = SequenceReservoir(run.config.buffer_size, run.config.seed)
    reservoir.restore(run.state, run.past)
    replay = Replay(reservoir, run.config.replay_batch_size)
    return run.strategy(plugins=[replay]), [replay]
