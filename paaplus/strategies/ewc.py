"""Online elastic weight consolidation: parameters that earlier feedback pinned down are held near the parent's."""

from __future__ import annotations

from paaplus.strategies.consolidation import Consolidation
from paaplus.strategies.gradient import RememberingPlugin, Run
from paaplus.strategies.sensitivity import gauss_newton_fisher
from paaplus.strategies.template import RegressionStrategy


def build(run: Run) -> tuple[RegressionStrategy, list[RememberingPlugin]]:
    # With the importances around the parent this is Laplace's approximation of what earlier feedback left: prior
    # precision plus importance, around the parent.
    run.module.count_from_here()
    consolidation = Consolidation(run, "fisher", run.config.ewc_lambda, gauss_newton_fisher)
    return run.strategy(plugins=[consolidation]), [consolidation]
