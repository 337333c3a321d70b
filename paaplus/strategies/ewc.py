"""Online elastic weight consolidation: parameters that earlier ratings pinned down are held near the parent's."""

from __future__ import annotations

from paaplus.strategies.consolidation import Consolidation
from paaplus.strategies.gradient import RememberingPlugin, Run
from paaplus.strategies.template import RegressionStrategy


def build(run: Run) -> tuple[RegressionStrategy, list[RememberingPlugin]]:
    # With the importances around the parent this is Laplace's approximation of what earlier ratings left: prior
    # precision plus importance, around the parent.
    run.module.count_from_here()
    consolidation = Consolidation(run.config.ewc_lambda, run.config.ewc_decay, run.noise_sd_A)
    consolidation.restore(run.state, run.past, run.module)
    return run.strategy(plugins=[consolidation]), [consolidation]
