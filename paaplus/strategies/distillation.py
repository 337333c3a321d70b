"""Functional distillation: the parent's own scores of earlier images, and softly of new ones, are kept.

Earlier ratings are not looked at, only the images that they were about. With a pool weight of 1, each counts like a
rating that says what the parent says. Stock learning without forgetting distils class probabilities.

Source: Li & Hoiem, "Learning without forgetting" (arXiv:1606.09282), with squared differences of scores.
Shape letters: V = images, A = aspects.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from paaplus.strategies.avalanche_names import SupervisedPlugin
from paaplus.strategies.datasets import row_draws
from paaplus.strategies.gradient import RememberingPlugin, Run
from paaplus.strategies.template import RegressionStrategy


def build(run: Run) -> tuple[RegressionStrategy, list[RememberingPlugin]]:
    # The parent's scores have been drawn to the prior's centre already: counting from there again would wear them down.
    run.module.count_from_here()
    return run.strategy(plugins=[_Distillation(run)] if len(run.past) else []), []


class _Distillation(SupervisedPlugin):
    """Adds the squared distance to the parent's scores, in units of rating noise, to the loss."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        config = run.config
        self.noise_sd_A = run.noise_sd_A
        self.pool_x = run.past.images()
        self.new_x = run.new.images() if len(run.new) else self.pool_x[:0]
        self.pool_weight, self.new_weight = config.distillation_pool, config.distillation_batch
        batch_size = min(config.replay_batch_size, len(self.pool_x))
        self.draws = row_draws(len(self.pool_x), batch_size, run.generator) if batch_size else None
        with torch.no_grad():
            self.pool_VA, self.new_VA = run.module(self.pool_x), run.module(self.new_x)

    def before_backward(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        # The loss is a mean over the rows of new feedback, hence what a term stands for over their number.
        if self.draws is not None and self.pool_weight:
            index = next(self.draws).to(self.pool_x.device)
            distance = self._distance(strategy, self.pool_x[index], self.pool_VA[index])
            strategy.loss += self.pool_weight * len(self.pool_x) / strategy.num_rows * distance
        if self.new_weight:
            strategy.loss += self.new_weight * self._distance(strategy, self.new_x, self.new_VA)

    def _distance(self, strategy: RegressionStrategy, x: Tensor, teacher_VA: Tensor) -> Tensor:
        return ((strategy.model(x) - teacher_VA) / self.noise_sd_A).square().sum(1).mean()
