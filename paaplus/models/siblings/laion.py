"""The LAION head behind CLIP's ViT-L/14, whose image tower comes in a file of its own under timm's names.

Shape letters: B = images, D = 768, the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image
from torch import Tensor, nn

from paaplus.models.extractor import Preprocessing
from paaplus.models.timm_backbone import build_network
from paaplus.models.torchvision_shim import ensure_torchvision
from paaplus.tools.laion import EMBEDDING_DIM, LaionHead, collapse

TIMM_NAME = "vit_large_patch14_clip_quickgelu_224"
SIDE_PX = 224
HEAD, TOWER = "head.", "tower."
PREPROCESSING = Preprocessing(
    width_px=SIDE_PX,
    height_px=SIDE_PX,
    interpolation="bicubic",
    mean_rgb=(122.7709383, 116.7460125, 104.09373615),
    std_rgb=(68.5005327, 66.6321579, 70.32316305),
    root_features=False,
)


def pixels(image: Image.Image) -> Tensor:
    """CLIP's input, (1, 3, 224, 224): the shorter side made 224, of which the middle square is seen."""
    width_px, height_px = image.size
    scale = SIDE_PX / min(width_px, height_px)
    size = (max(SIDE_PX, round(width_px * scale)), max(SIDE_PX, round(height_px * scale)))
    resized = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - SIDE_PX) // 2, (size[1] - SIDE_PX) // 2
    return PREPROCESSING.pixels(resized.crop((left, top, left + SIDE_PX, top + SIDE_PX)))


class LaionNet(nn.Module):
    """CLIP-normalised pixels, (B, 3, 224, 224), to embeddings, (B, 768). The head is for `LaionHead`, in float64."""

    def __init__(self, **sizes: Any) -> None:
        """`sizes`: timm's arguments of a smaller tower, for tests."""
        super().__init__()
        self.tower = _tower(**sizes)
        self.head = nn.Module()
        self.head.layers = nn.ModuleDict(
            {
                str(place): nn.Linear(inputs, outputs)
                for place, inputs, outputs in (
                    (0, EMBEDDING_DIM, 1024),
                    (2, 1024, 128),
                    (4, 128, 64),
                    (6, 64, 16),
                    (7, 16, 1),
                )
            }
        )

    def forward(self, pixel_B3HW: Tensor) -> Tensor:
        return self.tower(pixel_B3HW)

    def collapsed(self) -> LaionHead:
        weights = {name: tensor.detach().cpu().numpy() for name, tensor in self.head.state_dict().items()}
        return collapse(weights)


def names(head: Mapping[str, Tensor], tower: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The two files' weights under one network's names."""
    return {HEAD + name: tensor for name, tensor in head.items()} | {
        TOWER + name: tensor for name, tensor in tower.items()
    }


def _tower(**sizes: Any) -> nn.Module:
    if not sizes:
        return build_network(TIMM_NAME, pretrained=False, num_classes=EMBEDDING_DIM)
    ensure_torchvision()
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(img_size=SIDE_PX, patch_size=14, num_classes=EMBEDDING_DIM, pre_norm=True, **sizes)
