"""A NIMA-style network from a local file: MobileNetV2 up to its pooled features, with a head of ten bins.

The file holds tensors only (safetensors, or a torch file read with `weights_only`). The backbone has torchvision names
(`features.*` under any prefix, or `base_model.0.*`, the names in an `nn.Sequential`); the head is one linear layer of
ten outputs. Images are resized to 256 x 256, of which the network gets the central 224 x 224, as in the paper's tests.
Images are processed one at a time, because a batch would change the last bits.

Source:
    Talebi & Milanfar, NIMA: neural image assessment (arXiv:1709.05424).

Shape letters: D = features.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from paaplus.errors import InvalidInput
from paaplus.ids import sha256_hex
from paaplus.models.siblings.state import reader_of
from paaplus.models.torchvision_shim import ensure_torchvision
from paaplus.tools.nima import NimaHead, NimaTool, head_of

FEATURE_DIM = 1280
RESIZED_PX, INPUT_PX = 256, 224
_MEAN = torch.tensor([0.485, 0.456, 0.406])
_SD = torch.tensor([0.229, 0.224, 0.225])
_BACKBONE = re.compile(r"^(?:(?:.*\.)?features|base_model\.0)\.(\d+\..+)$")


def load_network(file: Path, aspect: str, device: str = "cpu") -> NimaTool:
    """The AI tool of a network file.

    Args:
        file: the file.
        aspect: the aspect that the tool labels.
        device: a torch device.

    Raises:
        InvalidInput: the file cannot be read, or its tensors are not those of this network.
    """
    state, digest = _read(file)
    meant = reader_of(state)
    if meant not in (None, "nima"):
        raise InvalidInput(f"NIMA network {file.name}: it is a file of tool {meant!r}")
    backbone = _backbone(file, state).to(device)
    tables = {name: tensor.detach().float().cpu().numpy() for name, tensor in state.items() if tensor.ndim <= 2}
    head: NimaHead = head_of(tables, digest)
    if head.feature_dim != FEATURE_DIM:
        raise InvalidInput(f"{file.name}: a head for {head.feature_dim} features; the network has {FEATURE_DIM}")
    return NimaTool(head, aspect, None, _features_by(backbone, device))


def _read(file: Path) -> tuple[dict[str, Tensor], str]:
    try:
        data = file.read_bytes()
        if file.suffix == ".safetensors":
            state = load_safetensors(data)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, UnpicklingError, EOFError, ValueError, KeyError) as error:
        raise InvalidInput(f"NIMA network {file.name}: {str(error)[:200]}") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not (isinstance(state, dict) and all(isinstance(tensor, Tensor) for tensor in state.values())):
        raise InvalidInput(f"NIMA network {file.name}: not a dictionary of tensors")
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}, sha256_hex(data)


def _backbone(file: Path, state: dict[str, Tensor]) -> nn.Module:
    ensure_torchvision()
    from torchvision.models import mobilenet_v2

    network = mobilenet_v2(weights=None).features
    renamed = {match[1]: tensor for name, tensor in state.items() if (match := _BACKBONE.match(name))}
    try:
        network.load_state_dict(renamed)
    except RuntimeError as error:
        raise InvalidInput(f"NIMA network {file.name}: not MobileNetV2: {str(error)[:300]}") from error
    return network.eval().requires_grad_(False)


def _features_by(network: nn.Module, device: str) -> Callable[[Image.Image], np.ndarray]:
    def features(image: Image.Image) -> np.ndarray:
        resized = image.convert("RGB").resize((RESIZED_PX, RESIZED_PX), Image.Resampling.BILINEAR)
        edge = (RESIZED_PX - INPUT_PX) // 2
        cropped = resized.crop((edge, edge, edge + INPUT_PX, edge + INPUT_PX))
        pixel_HW3 = torch.from_numpy(np.array(cropped, np.float32)) / 255.0
        input_13HW = ((pixel_HW3 - _MEAN) / _SD).permute(2, 0, 1)[None].to(device)
        with torch.inference_mode():
            features_D: np.ndarray = network(input_13HW).mean((2, 3))[0].float().cpu().numpy()
        return features_D

    return features
