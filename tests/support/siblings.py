"""Small copies of the networks of tools, with random weights that are always the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from paaplus.models.siblings.dat import DatConfig, Eat
from paaplus.models.siblings.elta import Elta
from paaplus.models.siblings.exposure_net import ExposureNet
from paaplus.models.siblings.icaa import Icaa
from paaplus.models.siblings.laion import LaionNet
from paaplus.models.siblings.load import RECIPES
from paaplus.models.siblings.mobilenet_lab import LabMobileNet
from paaplus.models.siblings.prompt_det import EMBEDDING_DIM, PAIRS, ClipResNet, PromptDet
from paaplus.models.siblings.tanet import TaNet
from paaplus.models.siblings.tools import BUILDERS
from paaplus.tools.files import TOOL_FILES
from paaplus.tools.tool import Tool

SMALL = DatConfig(widths=(32, 32, 64, 64), depths=(2, 2, 2, 2), groups=(0, 0, 2, 2))


def small_elta() -> Elta:
    return Elta(embed_dim=32, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2))


TINY: Mapping[str, Callable[[], nn.Module]] = {
    "exposure_map": lambda: ExposureNet(channels=4, hidden=2),
    "laion": lambda: LaionNet(embed_dim=32, depth=1, num_heads=2),
    "mnet": LabMobileNet,
    "tanet": lambda: TaNet(1),
    "tanet_ava": lambda: TaNet(10),
    "tanet_ava_no_theme": lambda: TaNet(10),
    "eat": lambda: Eat(10, SMALL),
    "eat_tad66k": lambda: Eat(1, SMALL),
    "icaa": lambda: Icaa(SMALL),
    "prompt_det": lambda: PromptDet(SMALL, ClipResNet(width=64, lengths=(1, 1, 1, 1))),
    "elta": small_elta,
    "elta_regression": small_elta,
}
assert TINY.keys() == RECIPES.keys() == BUILDERS.keys() == TOOL_FILES.keys()


def with_weights(network: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter drawn anew, whatever the network left empty; running variances stay above 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if not tensor.is_floating_point():
                continue
            fan_in = max(int(np.prod(tensor.shape[1:])), 1) if tensor.ndim > 1 else 100
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * fan_in**-0.5)
            if name.endswith("running_var"):
                tensor.copy_(tensor.abs() + 0.5)
            elif name.endswith("weight") and tensor.ndim == 1:
                tensor.add_(1.0)
    return network.eval().requires_grad_(False)


def text_vectors(folder: Path) -> Path:
    """A file of made-up vectors of prompts, of which each pair says that an image is a little of both."""
    rng = np.random.default_rng(0)
    vectors = {}
    for pair in PAIRS:
        base = rng.normal(size=EMBEDDING_DIM)
        for prompt in pair.prompts:
            vectors[prompt] = (base + 0.05 * rng.normal(size=EMBEDDING_DIM)).astype(np.float32)
    np.savez(folder / "texts.npz", **vectors)
    return folder / "texts.npz"


def tiny_tool(name: str, folder: Path) -> Tool:
    network = with_weights(TINY[name]())
    companion = text_vectors(folder) if name == "prompt_det" else None
    return BUILDERS[name](TOOL_FILES[name].version_of("0" * 64), lambda: network, "cpu", companion)
