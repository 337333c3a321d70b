"""Averaged gradient episodic memory: a step may not raise the loss of a sample of earlier feedback, to first order.

Avalanche's projection is used as it is. Its memory, a list of every experience's rows that grows without end and
divides its sample by its own length until nothing is left, is replaced by the bounded reservoir.

Source: Chaudhry et al., "Efficient lifelong learning with A-GEM" (arXiv:1812.00420).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from paaplus.strategies.avalanche_names import AGEMPlugin
from paaplus.strategies.datasets import as_batch, row_draws
from paaplus.strategies.gradient import RememberingPlugin, Run
from paaplus.strategies.reservoir import restored_reservoir
from paaplus.strategies.template import RegressionStrategy, batch_loss


def build(run: Run) -> tuple[RegressionStrategy, list[RememberingPlugin]]:
    run.module.count_from_here()
    memory = _BoundedMemory(run)
    return run.strategy(plugins=[memory]), [memory]


class _BoundedMemory(AGEMPlugin):
    """A-GEM whose memory is the reservoir; the reference gradient is that of the likelihood of rows drawn from it."""

    def __init__(self, run: Run) -> None:
        super().__init__(patterns_per_experience=run.config.buffer_size, sample_size=run.config.replay_batch_size)
        self.reservoir = restored_reservoir(run)
        sample_size = min(self.sample_size, len(self.reservoir.buffer))
        self.draws = row_draws(len(self.reservoir.buffer), sample_size, run.generator) if sample_size else None
        self.buffers = [self.reservoir.buffer] if sample_size else []  # the stock projection asks whether any is there

    def before_training_iteration(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        if self.draws is None:
            return
        batch = as_batch(self.reservoir.buffer, next(self.draws))
        loss = batch_loss(strategy.model(batch.x), batch, strategy.noise_sd_A)
        gradients = torch.autograd.grad(loss, list(strategy.model.parameters()))
        self.reference_gradients = torch.cat([gradient.flatten() for gradient in gradients])

    def after_training_exp(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        self.reservoir.post_adapt(strategy, strategy.experience)

    def arrays(self) -> dict[str, np.ndarray]:
        return self.reservoir.arrays()
