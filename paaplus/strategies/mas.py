"""Memory aware synapses: parameters that move the scores of earlier images are held near the parent's.

No rating is looked at, only which aspects the person rated. Stock MAS averages gradients of the outputs' squared norm
over minibatches; here it is the size of every single score's gradient, in units of rating noise.

Source: Aljundi et al., "Memory aware synapses" (arXiv:1711.09601).
Shape letters: U = users, V = images, A = aspects.
"""

from collections.abc import Mapping

import torch

from paaplus.configs import TrainingConfig
from paaplus.strategies.avalanche_names import SupervisedPlugin
from paaplus.strategies.ewc import Arrays, Consolidation, add
from paaplus.strategies.rows import Part
from paaplus.strategies.stack import Stack
from paaplus.strategy_facts import Facts

FACTS = Facts(
    prior="parent",
    earlier="parameters are held at the parent's, by how much each moves the scores of earlier images",
    remembers=("mas",),
    settings=("mas_lambda", "ewc_decay"),
)


def plugins(config: TrainingConfig) -> list[SupervisedPlugin]:
    return [Consolidation("mas", config.mas_lambda, config.ewc_decay, score_sensitivity)]


def score_sensitivity(stack: Stack, parts: Mapping[int, Part]) -> Arrays:
    """Sum over images and aspects of weight * |d score / d parameter| / noise_sd, by parameter."""
    module, total = stack.module, stack.module.zeros()
    for image_UV, second_UV in stack.chunks(parts):
        is_pair_UV1 = (second_UV != stack.nowhere)[..., None]
        weight_UVA = stack.y_TB[image_UV][..., module.num_aspects :]  # of a rating, over the noise's variance
        weight_UVA = torch.where(is_pair_UV1, weight_UVA / module.noise_sd_A, weight_UVA * module.noise_sd_A)
        second_weight_UVA = torch.where(is_pair_UV1, weight_UVA, 0.0)
        for of_UV, each_UVA in ((image_UV, weight_UVA), (second_UV, second_weight_UVA)):
            add(total, module.derivative_sums(stack.x_TX[of_UV], each_UVA, torch.abs))
    return total
