"""The network's three heads as NumPy arrays for serving.

Shape letters: I = inputs of a head, P, Q = dims of its hidden layers.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from paaplus.models.extractor import to_half
from paaplus.models.physiqueframe.network.config import ASPECTS
from paaplus.models.physiqueframe.network.frame import BRANCHES, PhysiqueFrame
from paaplus.scoring.frame_heads import FrameHeads


@torch.no_grad()
def export_heads(network: PhysiqueFrame) -> FrameHeads:
    """The network's heads for serving: their scores equal the network's up to float32 rounding."""
    heads = [network.heads[aspect] for aspect in ASPECTS]
    first = [_folded(head[0], head[1]) for head in heads]
    second = [_folded(head[4], head[5]) for head in heads]
    last = [head[8] for head in heads]
    branches, absent_E = _branches(network)
    return FrameHeads(
        aspects=ASPECTS,
        preference_dim=network.config.preference_dim,
        first_weight_AIP=np.stack([weight_IP for weight_IP, _ in first]),
        first_bias_AP=np.stack([bias_P for _, bias_P in first]),
        second_weight_APQ=np.stack([weight_PQ for weight_PQ, _ in second]),
        second_bias_AQ=np.stack([bias_Q for _, bias_Q in second]),
        last_weight_AQ=np.stack([linear.weight[0].cpu().numpy() for linear in last]),
        last_bias_A=np.stack([linear.bias[0].cpu().numpy() for linear in last]),
        branches=branches,
        absent_E=absent_E,
    )


def _branches(network: PhysiqueFrame) -> tuple[tuple[tuple[str, int], ...], np.ndarray | None]:
    """Names and sizes of the branches, and the features of posture and mesh for an image without them.

    Empty for a network with `zero_missing_body`: its features do not show whether there was a body.
    """
    config = network.config
    if config.compatibility.zero_missing_body:
        return (), None
    sizes = (config.vit.out_dim, config.graph.dim, config.points.out_dim)
    absent = [norm.bias.float().cpu().numpy() for norm in (network.posture_norm, network.mesh_norm)]
    return tuple(zip(BRANCHES, sizes, strict=True)), to_half(np.concatenate(absent))


def _folded(linear: nn.Linear, norm: nn.BatchNorm1d) -> tuple[np.ndarray, np.ndarray]:
    """A linear map with its batch normalisation folded in: weights (inputs, outputs) and biases, float32."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    weight = linear.weight.double().T * scale
    bias = (linear.bias.double() - norm.running_mean.double()) * scale + norm.bias.double()
    return weight.float().cpu().numpy(), bias.float().cpu().numpy()
