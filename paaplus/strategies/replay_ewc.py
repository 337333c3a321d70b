"""Replay and consolidation together: the buffer keeps what it holds, the penalty what has left it."""

from __future__ import annotations

from paaplus.strategies.consolidation import Consolidation
from paaplus.strategies.gradient import RememberingPlugin, Run
from paaplus.strategies.reservoir import Replay, SequenceReservoir
from paaplus.strategies.template import RegressionStrategy


def build(run: Run) -> tuple[RegressionStrategy, list[RememberingPlugin]]:
    reservoir = SequenceReservoir(run.config.buffer_size, run.config.seed)
    reservoir.restore(run.state, run.past)
    replay = Replay(reservoir, run.config.replay_batch_size)
    consolidation = Consolidation(run.config.ewc_lambda, run.config.ewc_decay, run.noise_sd_A)
    consolidation.restore(run.state, run.past, run.module)
    # Replay first: it sets how many rows the batches stand for, which scales the penalty.
    return run.strategy(plugins=[replay, consolidation]), [replay, consolidation]
