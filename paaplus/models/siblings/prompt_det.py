"""Prompt-DeT: colour aesthetics from the gated transformer beside CLIP's image tower, and shares of opposite prompts.

The image goes into CLIP as ImageNet normalises it, and the attention pool adds no positions: the file was trained so.
CLIP's text tower is not needed: what a pair of prompts says is two vectors.

Source:
    He et al., Prompt-DeT of ICAA17K's authors; Radford et al., CLIP (arXiv:2103.00020), RN50.
Shape letters: B = images, C = channels, H, W = cells, T = tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from paaplus.models.siblings.dat import ChannelNorm, DatConfig, Trunk

EMBEDDING_DIM = 1024
_HEAD_DIM = 64
# What the official file holds besides, and nothing here needs: CLIP's text tower.
TEXT_TOWER = tuple(
    f"icaa_clip.clip_model.{part}"
    for part in ("transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection")
)


@dataclass(frozen=True)
class Pair:
    """Two opposite prompts, and how the share of the first is spread over images."""

    aspect: str
    prompts: tuple[str, str]
    mean: float
    sd: float

    def score(self, share: float) -> float:
        """0-1: three standard deviations on either side of the mean; what is beyond is cut."""
        return min(max((share - self.mean) / (6.0 * self.sd) + 0.5, 0.0), 1.0)


PAIRS = (
    Pair("warmth", ("warm tone.", "cold tone."), 0.5060040414776488, 0.021420622256879244),
    Pair("colourfulness", ("colorful.", "monotone."), 0.5746566870547009, 0.04772679232711666),
    Pair("harmony", ("harmonious color.", "chaotic color."), 0.5041112922830655, 0.024548609685370107),
)


class Bottleneck(nn.Module):
    """CLIP's: strides are averages, after the 3x3 and before the shortcut's 1x1."""

    def __init__(self, inputs: int, inside: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * inside
        self.stride = stride
        self.conv1, self.bn1 = nn.Conv2d(inputs, inside, 1, bias=False), nn.BatchNorm2d(inside)
        self.conv2, self.bn2 = nn.Conv2d(inside, inside, 3, padding=1, bias=False), nn.BatchNorm2d(inside)
        self.conv3, self.bn3 = nn.Conv2d(inside, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        inside = functional.relu(self.bn1(self.conv1(x_BCHW)))
        inside = self._strided(functional.relu(self.bn2(self.conv2(inside))))
        short = x_BCHW if self.downsample is None else self.downsample(self._strided(x_BCHW))
        return functional.relu(self.bn3(self.conv3(inside)) + short)

    def _strided(self, x_BCHW: Tensor) -> Tensor:
        return functional.avg_pool2d(x_BCHW, self.stride) if self.stride > 1 else x_BCHW


class AttentionPool(nn.Module):
    """What the mean cell asks of all cells. The positions are in the file and are not added."""

    def __init__(self, channels: int, outputs: int, num_cells: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.zeros(num_cells + 1, channels))
        self.k_proj, self.q_proj, self.v_proj = (nn.Linear(channels, channels) for _ in range(3))
        self.c_proj = nn.Linear(channels, outputs)

    def forward(self, map_BCHW: Tensor) -> Tensor:
        cell_BTC = map_BCHW.flatten(2).transpose(1, 2)
        token_BTC = torch.cat((cell_BTC.mean(1, keepdim=True), cell_BTC), 1)
        B, _, C = token_BTC.shape
        query, key, value = (
            projected.reshape(B, -1, C // _HEAD_DIM, _HEAD_DIM).transpose(1, 2)
            for projected in (self.q_proj(token_BTC[:, :1]), self.k_proj(token_BTC), self.v_proj(token_BTC))
        )
        weight = torch.softmax(query * _HEAD_DIM**-0.5 @ key.transpose(2, 3), 3)
        return self.c_proj((weight @ value).transpose(1, 2).reshape(B, C))


class ClipResNet(nn.Module):
    """OpenAI's RN50: pixels, (B, 3, 224, 224), to the embedding, (B, 1024)."""

    def __init__(self, width: int = 64, lengths: tuple[int, ...] = (3, 4, 6, 3), side_px: int = 224) -> None:
        super().__init__()
        half = width // 2
        self.conv1, self.bn1 = nn.Conv2d(3, half, 3, 2, 1, bias=False), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = nn.Conv2d(half, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for number, length in enumerate(lengths):
            inside, blocks = width * 2**number, []
            for block in range(length):
                blocks.append(Bottleneck(inputs, inside, 2 if number and not block else 1))
                inputs = 4 * inside
            self.add_module(f"layer{number + 1}", nn.Sequential(*blocks))
        self.num_layers = len(lengths)
        self.attnpool = AttentionPool(inputs, EMBEDDING_DIM, (side_px // 4 // 2 ** (len(lengths) - 1)) ** 2)

    def forward(self, pixel_B3HW: Tensor, seen: dict[str, Tensor]) -> Tensor:
        x_BCHW = pixel_B3HW
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x_BCHW = functional.relu(norm(conv(x_BCHW)))
        x_BCHW = functional.avg_pool2d(x_BCHW, 2)
        for number in range(self.num_layers):
            x_BCHW = self.get_submodule(f"layer{number + 1}")(x_BCHW)
        seen["clip_map"] = x_BCHW
        return self.attnpool(x_BCHW)


class ClipModel(nn.Module):
    def __init__(self, visual: ClipResNet) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.visual = visual


class Linears(nn.Module):
    """Layers `linear1`, `linear2`, ... with GELU between."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        for number, (inputs, outputs) in enumerate(pairwise(sizes), 1):
            self.add_module(f"linear{number}", nn.Linear(inputs, outputs))
        self.length = len(sizes) - 1

    def forward(self, x: Tensor) -> Tensor:
        for number in range(1, self.length + 1):
            x = self.get_submodule(f"linear{number}")(x)
            if number < self.length:
                x = functional.gelu(x)
        return x


class PromptDet(Trunk):
    """Overall colour, 0-1, (B, 1); `shares` of pairs of prompts come from the CLIP embedding of the same pass."""

    def __init__(self, config: DatConfig | None = None, visual: ClipResNet | None = None) -> None:
        config = replace(config or DatConfig(), gate=True)
        super().__init__(config)
        width = config.widths[-1]
        self.alpha = nn.Parameter(torch.zeros(1))
        self.icaa_clip = nn.Module()
        self.icaa_clip.clip_model = ClipModel(visual or ClipResNet(side_px=config.side_px))
        self.adpater = Linears(EMBEDDING_DIM, 4 * EMBEDDING_DIM, EMBEDDING_DIM)
        self.cls_norm1, self.cls_norm2 = nn.LayerNorm(EMBEDDING_DIM), ChannelNorm(width)
        self.fc = Linears(width + EMBEDDING_DIM, 1024, 256, 64, 1)

    def forward(
        self, pixel_B3HW: Tensor, shared_reference: bool = False, seen: dict[str, Tensor] | None = None
    ) -> Tensor:
        seen = {} if seen is None else seen
        seen["features"] = self.cls_norm2(self.last_map(pixel_B3HW, shared_reference, seen)).mean((2, 3))
        clip_BE = seen["clip_feature"] = self.icaa_clip.clip_model.visual(pixel_B3HW, seen)
        mixed_BE = self.alpha * self.adpater(clip_BE) + (1.0 - self.alpha) * clip_BE
        seen["adapted"] = self.cls_norm1(mixed_BE)
        return torch.sigmoid(self.fc(torch.cat((seen["features"], seen["adapted"]), 1)))

    def share(self, clip_BE: Tensor, texts_2E: Tensor) -> Tensor:
        """The first prompt's part of the two logits, (B,): a ratio of raw numbers, unbounded where they cancel out."""
        unit_BE = clip_BE / clip_BE.norm(dim=1, keepdim=True)
        text_2E = texts_2E / texts_2E.norm(dim=1, keepdim=True)
        logit_B2 = self.icaa_clip.clip_model.logit_scale.exp() * unit_BE @ text_2E.T
        return logit_B2[:, 0] / logit_B2.sum(1)
