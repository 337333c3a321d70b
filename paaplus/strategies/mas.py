"""Memory aware synapses: parameters that move the scores of earlier images are held near the parent's.

No rating is looked at, only which aspects the person said something about. Stock MAS averages gradients of the squared
norm of the outputs over minibatches: that depends on the batch size and, for scores, on where their zero lies. Here
it is the size of every single score's gradient, in units of rating noise.

Source: Aljundi et al., "Memory aware synapses" (arXiv:1711.09601).
Shape letters: V = images, A = aspects.
"""

from __future__ import annotations

import torch
from torch import Tensor

from paaplus.strategies.consolidation import Consolidation
from paaplus.strategies.datasets import FeedbackData
from paaplus.strategies.gradient import RememberingPlugin, Run
from paaplus.strategies.modules import AdapterModule
from paaplus.strategies.sensitivity import LayerGradient, add_products, layer_gradients
from paaplus.strategies.template import RegressionStrategy


def build(run: Run) -> tuple[RegressionStrategy, list[RememberingPlugin]]:
    run.module.count_from_here()
    consolidation = Consolidation(run, "mas", run.config.mas_lambda, score_sensitivity)
    return run.strategy(plugins=[consolidation]), [consolidation]


def score_sensitivity(module: AdapterModule, data: FeedbackData, noise_sd_A: Tensor) -> dict[str, Tensor]:
    """Sum over images and aspects of weight * |d score / d parameter| / noise_sd, per parameter name."""
    columns = data.columns
    said_NA = ~(torch.isnan(columns.target_NA) & torch.isnan(columns.preference_NA))
    weight_NA = said_NA * columns.weight_N[:, None] / noise_sd_A
    weight_VA = torch.cat([weight_NA, weight_NA[columns.is_comparison_N]])
    total = {name: torch.zeros_like(parameter) for name, parameter in module.named_parameters()}
    _, gradients = layer_gradients(module, data.images())
    for a, gradient in gradients:
        size = LayerGradient(gradient.layer, gradient.name, gradient.output_VO.abs(), gradient.input_VI.abs())
        add_products(total, size, weight_VA[:, a], squared=False)
    return total
