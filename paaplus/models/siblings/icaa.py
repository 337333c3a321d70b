"""ICAA-DeT: aesthetics and colour from the gated deformable-attention transformer, by a soft histogram of 36 numbers.

Source:
    He et al., Thinking image color aesthetics assessment: models, datasets and benchmarks (ICCV 2023).
Shape letters: B = images, C = channels, F = numbers, K = bins of a number.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from paaplus.models.siblings.dat import ChannelNorm, DatConfig, Trunk

NUM_FEATURES, NUM_BINS = 36, 6
_NUM_CELLS = NUM_FEATURES * NUM_BINS


class SoftHistogram(nn.Module):
    """How near each of F numbers is to each of K bin centres: relu(width * |c z + b| + d), (B, F K), bin fastest.

    Nothing keeps the numbers in the bins' range: all may be 0, and then the heads give their bias.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bin_centers_conv = nn.Conv1d(_NUM_CELLS, _NUM_CELLS, 1, groups=_NUM_CELLS)
        self.bin_widths_conv = nn.Conv1d(_NUM_CELLS, _NUM_CELLS, 1, groups=_NUM_CELLS)
        self.centers = nn.Parameter(torch.zeros(_NUM_CELLS))  # these two are in the file and used by nothing
        self.widths = nn.Parameter(torch.zeros(_NUM_CELLS, 1, 1))

    def forward(self, value_BF: Tensor) -> Tensor:
        value = value_BF.repeat_interleave(NUM_BINS, 1)
        away = (self.bin_centers_conv.weight[:, 0, 0] * value + self.bin_centers_conv.bias).abs()
        return functional.relu(self.bin_widths_conv.weight[:, 0, 0] * away + self.bin_widths_conv.bias)


class Icaa(Trunk):
    """Aesthetics and colour, 0-1, (B, 2)."""

    def __init__(self, config: DatConfig | None = None) -> None:
        config = replace(config or DatConfig(), gate=True)
        super().__init__(config)
        width = config.widths[-1]
        self.cls_norm = ChannelNorm(width)
        self.cls_head = nn.Linear(width, 1)  # in the file, used by nothing
        self.hst_head = nn.Linear(width, NUM_FEATURES)
        self.hist_feature = SoftHistogram()
        self.class_head, self.class_head2 = nn.Linear(_NUM_CELLS, 1), nn.Linear(_NUM_CELLS, 1)

    def forward(
        self, pixel_B3HW: Tensor, shared_reference: bool = False, seen: dict[str, Tensor] | None = None
    ) -> Tensor:
        seen = {} if seen is None else seen
        seen["features"] = self.cls_norm(self.last_map(pixel_B3HW, shared_reference, seen)).mean((2, 3))
        seen["hst"] = self.hst_head(seen["features"])
        seen["hist"] = self.hist_feature(seen["hst"])
        heads = (self.class_head, self.class_head2)
        return torch.cat([torch.sigmoid(head(seen["hist"])) for head in heads], 1)
