"""Replay and consolidation together: the buffer keeps what it holds, the penalty what has left it."""

from __future__ import annotations

from paaplus.strategies.consolidation import Consolidation
from paaplus.strategies.gradient import RememberingPlugin, Run
from paaplus.strategies.reservoir import Replay, restored_reservoir
from paaplus.strategies.sensitivity import gauss_newton_fisher
from paaplus.strategies.template import RegressionStrategy


def build(run: Run) -> tuple[RegressionStrategy, list[RememberingPlugin]]:
    replay = Replay(restored_reservoir(run), run.config.replay_batch_size)
    consolidation = Consolidation(run, "fisher", run.config.ewc_lambda, gauss_newton_fisher)
    # Replay first: it sets how many rows the batches stand for, which scales the penalty.
    return run.strategy(plugins=[replay, consolidation]), [replay, consolidation]
