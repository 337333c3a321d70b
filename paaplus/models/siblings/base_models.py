"""EAT and TANet as base models: what stands before their heads, as features for the platform's own head.

Shape letters: B = images, D = features.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from paaplus.errors import InvalidInput
from paaplus.models.extractor import FeatureBlock, Preprocessing
from paaplus.models.siblings import state
from paaplus.models.siblings.elta import PREPROCESSING as ELTA_PREPROCESSING
from paaplus.models.siblings.load import read_network
from paaplus.models.siblings.mobilenet_lab import FEATURE_DIM
from paaplus.models.siblings.tanet import BRANCH_DIM, NUM_SCENES, SIDE_PX
from paaplus.models.timm_backbone import TimmBackbone

# By base model: the tools whose files do, and what is met on the way to their scores.
VARIANTS = {"eat": ("eat", "eat_tad66k"), "tanet": ("tanet", "tanet_ava")}
PARTS = {"eat": ("features",), "tanet": ("mobile_features", "scene_logits", "mobile", "rgb")}
TANET_BLOCKS = (
    FeatureBlock(FEATURE_DIM),
    FeatureBlock(NUM_SCENES, standardize=True),
    FeatureBlock(2 * BRANCH_DIM, standardize=True),
)


class Before(nn.Module):
    """A network's numbers before its head, (B, D)."""

    def __init__(self, network: nn.Module, parts: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.parts = network, parts

    def forward(self, pixel_B3HW: Tensor) -> Tensor:
        seen: dict[str, Tensor] = {}
        self.network(pixel_B3HW, seen=seen)
        return torch.cat([seen[part] for part in self.parts], 1)


def build(name: str, weights: Path | None = None, device: str = "cpu") -> TimmBackbone:
    """Base model `eat` or `tanet`, from its authors' file of either data set.

    Raises:
        InvalidInput: no file is given, or it is another network's.
    """
    if weights is None:
        raise InvalidInput(f"base model {name!r} needs its authors' file: --weights FILE (docs/weights.md)")
    meant = state.reader_of(state.read(weights))
    variant = meant if meant in VARIANTS[name] else VARIANTS[name][0]  # of another network: refused by what reads it
    network = Before(read_network(variant, weights), PARTS[name])
    backbone = TimmBackbone(name, network, _preprocessing(), device)
    if name == "tanet":
        backbone.blocks = TANET_BLOCKS
    return backbone


def _preprocessing() -> Preprocessing:
    return Preprocessing(
        width_px=SIDE_PX,
        height_px=SIDE_PX,
        interpolation="bilinear",
        mean_rgb=ELTA_PREPROCESSING.mean_rgb,
        std_rgb=ELTA_PREPROCESSING.std_rgb,
        root_features=True,
    )


build_eat, build_tanet = partial(build, "eat"), partial(build, "tanet")
