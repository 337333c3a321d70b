"""The MobileNetV2 that the laboratory's scorers share, with a head of ten bins.

It is not torchvision's: the first and the last layer end in ReLU, not ReLU6, the first block has a 1x1 convolution of
its own, and the names are flat. A file of one does not fit the other.

Source:
    Sandler et al., MobileNetV2 (arXiv:1801.04381); Talebi & Milanfar, NIMA (arXiv:1709.05424).
Shape letters: B = images, C = channels, H, W = cells of the map.
"""

from __future__ import annotations

from torch import Tensor, nn

FEATURE_DIM = 1280
NUM_BINS = 10
# expansion, channels, repeats, stride of the first
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
CORNER_CELLS = 7  # what the official code pools at 256 pixels: the upper left cells only


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = inputs * expansion
        self.adds = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, inside, 1, bias=False),
            nn.BatchNorm2d(inside),
            nn.ReLU6(),
            nn.Conv2d(inside, inside, 3, stride, 1, groups=inside, bias=False),
            nn.BatchNorm2d(inside),
            nn.ReLU6(),
            nn.Conv2d(inside, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW + self.conv(x_BCHW) if self.adds else self.conv(x_BCHW)


def _layer(inputs: int, outputs: int, size: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def trunk() -> nn.Sequential:
    """From pixels, (B, 3, 32 H, 32 W), to the last map, (B, 1280, H, W); 19 parts."""
    parts: list[nn.Module] = [_layer(3, 32, 3, 2)]
    inputs = 32
    for expansion, outputs, repeats, first_stride in STAGES:
        for i in range(repeats):
            parts.append(InvertedResidual(inputs, outputs, first_stride if i == 0 else 1, expansion))
            inputs = outputs
    return nn.Sequential(*parts, _layer(inputs, FEATURE_DIM, 1, 1))


class LabMobileNet(nn.Module):
    """Logits of ten bins, (B, 10), from pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.base_model = nn.Sequential(trunk())
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(0.75), nn.Linear(FEATURE_DIM, NUM_BINS))

    def features(self, pixel_B3HW: Tensor, whole_map: bool = True, seen: dict[str, Tensor] | None = None) -> Tensor:
        """Mean over the last map, (B, 1280). `whole_map` False: over its upper left corner, as the official code."""
        seen = {} if seen is None else seen
        map_BCHW = pixel_B3HW
        for i, part in enumerate(self.base_model[0]):
            map_BCHW = part(map_BCHW)
            if i == 3:
                seen["block3"] = map_BCHW
        seen["map"] = map_BCHW
        if not whole_map:
            map_BCHW = map_BCHW[:, :, :CORNER_CELLS, :CORNER_CELLS]
        seen["mobile_features"] = map_BCHW.mean((2, 3))
        return seen["mobile_features"]

    def forward(self, pixel_B3HW: Tensor, whole_map: bool = True, seen: dict[str, Tensor] | None = None) -> Tensor:
        return self.head(self.features(pixel_B3HW, whole_map, seen))
