"""TANet: a scorer of three branches, one for what is seen, one for the scene's theme, one for colours.

Two files exist: trained on TAD66K (one score) and on AVA (ten bins). In the official code the theme branch mixes all
images of a batch: the hyper-network's weights of every image are used on every image. Here an image sees its own
weights only. For TAD66K that makes the branch the constant 1, which the official code gives for one image, too. For
AVA the official code has no value for one image; `theme` says what stands in its place.

Source:
    He et al., Rethinking image aesthetics assessment: models, datasets and benchmarks (IJCAI 2022).
Shape letters: B = images, C = channels, H, W = pixels.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from paaplus.models.siblings.mobilenet_lab import LabMobileNet
from paaplus.models.torchvision_shim import ensure_torchvision

Theme = Literal["per_sample", "off", "batch"]
SIDE_PX = 224
NUM_SCENES = 365
BRANCH_DIM = 10
_GRID = 12  # cells a side of the colour branch
_QUERY_DIM = 100


class HyperNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last_out_w = nn.Linear(NUM_SCENES, _QUERY_DIM)
        self.last_out_b = nn.Linear(NUM_SCENES, 1)


class TargetNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(NUM_SCENES, _QUERY_DIM)
        self.bn1 = nn.BatchNorm1d(_QUERY_DIM)
        self.relu1 = nn.PReLU()
        self.relu7 = nn.PReLU()  # of the AVA variant; in both files

    def forward(self, scene_BL: Tensor) -> Tensor:
        return self.relu1(self.bn1(self.fc1(scene_BL)))


class TaNet(nn.Module):
    """ImageNet-normalised pixels, (B, 3, 224, 224), to logits, (B, 1) or (B, 10)."""

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        ensure_torchvision()
        from torchvision.models import resnet18

        self.res365_last = resnet18(weights=None, num_classes=NUM_SCENES)
        self.hypernet, self.tygertnet = HyperNet(), TargetNet()
        self.mobileNet = LabMobileNet()
        self.head_rgb = nn.Sequential(nn.ReLU(), nn.Dropout(0.75), nn.Linear(_GRID**4, BRANCH_DIM))
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(0.5), nn.Linear(3 * BRANCH_DIM, num_outputs))

    @property
    def is_ava(self) -> bool:
        return self.head[2].out_features > 1

    def forward(self, pixel_B3HW: Tensor, theme: Theme = "per_sample", seen: dict[str, Tensor] | None = None) -> Tensor:
        seen = {} if seen is None else seen
        mobile_BN = self.mobileNet(pixel_B3HW, seen=seen)
        rgb_BN = torch.softmax(self.head_rgb(colour_similarity(pixel_B3HW)), 1)
        theme_BN = self._theme(self.res365_last(pixel_B3HW), theme, seen)
        concat = torch.cat((mobile_BN, theme_BN, rgb_BN), 1)
        seen |= {"mobile": mobile_BN, "rgb": rgb_BN, "concat": concat}
        return self.head(concat)

    def outputs(self, logits: Tensor) -> Tensor:
        """Shares of ten bins (AVA), or a score 0-1."""
        return torch.softmax(logits, 1) if self.is_ava else torch.sigmoid(logits)

    def _theme(self, scene_BL: Tensor, theme: Theme, seen: dict[str, Tensor]) -> Tensor:
        weight_BQ, bias_B1 = self.hypernet.last_out_w(scene_BL), self.hypernet.last_out_b(scene_BL)
        query_BQ = self.tygertnet(scene_BL)
        seen |= {"scene_logits": scene_BL, "hyper_w": weight_BQ, "hyper_b": bias_B1, "query": query_BQ}
        if theme == "off":
            return scene_BL.new_zeros(len(scene_BL), BRANCH_DIM)
        if theme == "batch":
            raw = query_BQ @ weight_BQ.T + bias_B1
            if self.is_ava:
                raw = self.tygertnet.relu7(functional.batch_norm(raw, None, None, training=True))
            else:
                raw = torch.softmax(raw, 1)
            seen["theme_raw"] = raw
            return functional.adaptive_avg_pool1d(raw, BRANCH_DIM)
        raw = (query_BQ * weight_BQ).sum(1, keepdim=True) + bias_B1
        raw = self.tygertnet.relu7(raw) if self.is_ava else torch.softmax(raw, 1)
        seen["theme_raw"] = raw
        return raw.expand(-1, BRANCH_DIM)


def colour_similarity(pixel_B3HW: Tensor) -> Tensor:
    """Cosine of the mean colours of every pair of 12 x 12 cells, (B, 20736)."""
    colour_BL3 = functional.adaptive_avg_pool2d(pixel_B3HW, _GRID).flatten(2).transpose(1, 2)
    length_BL = colour_BL3.norm(dim=2)
    product_BLL = length_BL[:, :, None] * length_BL[:, None]
    return (colour_BL3 @ colour_BL3.transpose(1, 2) / product_BLL.clamp(min=1e-8)).flatten(1)
