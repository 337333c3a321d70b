"""Synaptic intelligence: parameters whose moves lowered the loss are held near the parent's."""

from __future__ import annotations

from paaplus.strategies.gradient import RememberingPlugin, Run
from paaplus.strategies.path_integral import PathIntegral
from paaplus.strategies.template import RegressionStrategy


def build(run: Run) -> tuple[RegressionStrategy, list[RememberingPlugin]]:
    run.module.count_from_here()
    path_integral = PathIntegral(run)
    return run.strategy(plugins=[path_integral]), [path_integral]
