"""Small copies of the networks of tools, with random weights that are always the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from paaplus.models.siblings.exposure_net import ExposureNet
from paaplus.models.siblings.load import NETWORKS
from paaplus.tools.files import TOOL_FILES
from paaplus.tools.tool import Tool

TINY: Mapping[str, Callable[[], nn.Module]] = {
    "exposure_map": lambda: ExposureNet(channels=4, hidden=2),
}


def with_weights(network: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter drawn anew, whatever the network left empty; running variances stay above 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(0.2 * torch.randn(tensor.shape, generator=generator))
                if name.endswith("running_var"):
                    tensor.copy_(tensor.abs() + 0.5)
                elif name.endswith("weight") and tensor.ndim == 1:
                    tensor.add_(1.0)
    return network.eval().requires_grad_(False)


def tiny_tool(name: str) -> Tool:
    network = with_weights(TINY[name]())
    return NETWORKS[name][1](TOOL_FILES[name].version("0" * 64), lambda: network, "cpu")


def tiny_tools() -> dict[str, Tool]:
    """One of each tool that has a weight file."""
    return {name: tiny_tool(name) for name in TOOL_FILES}
