"""Experience replay: every step takes rows of a reservoir of earlier feedback beside the new ones."""

from __future__ import annotations

from paaplus.strategies.gradient import RememberingPlugin, Run
from paaplus.strategies.reservoir import Replay, restored_reservoir
from paaplus.strategies.template import RegressionStrategy


def build(run: Run) -> tuple[RegressionStrategy, list[RememberingPlugin]]:
    replay = Replay(restored_reservoir(run), run.config.replay_batch_size)
    return run.strategy(plugins=[replay]), [replay]
