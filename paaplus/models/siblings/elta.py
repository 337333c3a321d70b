"""ELTA: timm's SwinV2-B with two heads, ten bins (AVA) and one score (other sets), on the mean of the last tokens.

The official file has the names of timm 0.6; `modern_names` says what timm calls the same weights today.

Source:
    Liu et al., ELTA: an enhancer against long-tail for aesthetics-oriented models (ICML 2024).
Shape letters: B = images, D = features.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from paaplus.errors import InvalidInput
from paaplus.models.extractor import Preprocessing
from paaplus.models.siblings import state
from paaplus.models.timm_backbone import TimmBackbone, build_network
from paaplus.models.torchvision_shim import ensure_torchvision

NAME = "elta"
TIMM_NAME = "swinv2_base_window8_256"
SIDE_PX = 256
_DOWNSAMPLE = re.compile(r"^vit\.layers\.(\d+)\.downsample\.")


class Elta(nn.Module):
    """ImageNet-normalised pixels, (B, 3, 256, 256), to logits of ten bins and of one score."""

    def __init__(self, **sizes: Any) -> None:
        """`sizes`: timm's arguments of a smaller network, for tests."""
        super().__init__()
        self.vit = _backbone(**sizes)
        dim = self.vit.num_features
        self.linear_emd = nn.Sequential(nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, 10))
        self.linear_mse = nn.Sequential(nn.Dropout(0.75), nn.Linear(dim, 1))

    def features(self, pixel_B3HW: Tensor) -> Tensor:
        """Mean of the last tokens, (B, D)."""
        return self.vit.forward_features(pixel_B3HW).mean((1, 2))

    def forward(self, pixel_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        features_BD = self.features(pixel_B3HW)
        return self.linear_emd(features_BD), self.linear_mse(features_BD)


def modern_names(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under today's names: down-sampling moved to the next stage; the classifier, never used, is left out.

    Raises:
        InvalidInput: a down-sampling where there is none.
    """
    renamed = {}
    for name, tensor in official.items():
        if name.startswith("vit.head.") or name.rpartition(".")[2] in state.DERIVED:
            continue
        if match := _DOWNSAMPLE.match(name):
            name = f"vit.layers.{int(match[1]) + 1}.downsample.{name[match.end() :]}"
        if name in renamed:
            raise InvalidInput(f"two tensors of the file are {name!r:.100} today")
        renamed[name] = tensor
    return renamed


PREPROCESSING = Preprocessing(
    width_px=SIDE_PX,
    height_px=SIDE_PX,
    interpolation="bilinear",
    mean_rgb=(123.675, 116.28, 103.53),
    std_rgb=(58.395, 57.12, 57.375),
    root_features=True,
)


def build(weights: Path | None = None, device: str = "cpu") -> TimmBackbone:
    """Base model `elta`: the pooled features of the official file, for the platform's own head.

    Raises:
        InvalidInput: no file is given, or it is not ELTA's.
    """
    if weights is None:
        raise InvalidInput("base model 'elta' needs its authors' file: --weights FILE (docs/weights.md)")
    tensors = state.read(weights)
    state.check_is_for(NAME, tensors, weights.name)
    network = state.load(state.empty(Elta), modern_names(tensors), weights.name)
    return TimmBackbone(NAME, network.vit, PREPROCESSING, device)


def _backbone(**sizes: Any) -> nn.Module:
    if not sizes:
        return build_network(TIMM_NAME, pretrained=False)
    ensure_torchvision()
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    return SwinTransformerV2(img_size=SIDE_PX, window_size=8, num_classes=0, **sizes)
