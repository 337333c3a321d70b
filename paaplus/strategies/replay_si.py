"""Replay and synaptic intelligence together: the buffer keeps what it holds, the penalty what has left it."""

from __future__ import annotations

from paaplus.strategies.gradient import RememberingPlugin, Run
from paaplus.strategies.path_integral import PathIntegral
from paaplus.strategies.reservoir import Replay, restored_reservoir
from paaplus.strategies.template import RegressionStrategy


def build(run: Run) -> tuple[RegressionStrategy, list[RememberingPlugin]]:
    replay = Replay(restored_reservoir(run), run.config.replay_batch_size)
    path_integral = PathIntegral(run)
    # Replay first: it sets how many rows the batches stand for, which scales the penalty.
    return run.strategy(plugins=[replay, path_integral]), [replay, path_integral]
