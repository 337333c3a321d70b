"""An extractor from any image network of timm, with weights from its hub or from a file.

Shape letters: B = images, D = feature dim.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from paaplus.errors import InvalidInput, Unavailable
from paaplus.models.device import resolve_device
from paaplus.models.extractor import FeatureBlock, Preprocessing, extractor_digest
from paaplus.models.finite import all_finite
from paaplus.models.lean_imports import leaving_out
from paaplus.models.torchvision_shim import ensure_torchvision


class TimmBackbone:
    """A frozen timm network without its classifier (satisfies `Extractor`)."""

    def __init__(self, name: str, network: torch.nn.Module, preprocessing: Preprocessing, device: str = "cpu") -> None:
        self.name = name
        self.preprocessing = preprocessing
        self.digest = extractor_digest(network.state_dict(), preprocessing)
        self.device = resolve_device(device)
        # channels_last is about a fifth faster on one CPU core; outputs are the same up to rounding
        self.network = network.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)
        # Measured on the output: timm's attributes do not count a head's hidden layer in every family.
        self.feature_dim = self.extract([Image.new("RGB", (8, 8))]).shape[1]
        self.blocks: tuple[FeatureBlock, ...] = (FeatureBlock(self.feature_dim),)

    @torch.no_grad()
    def extract(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Features of RGB images, shape (B, D), float16."""
        if not images:
            return np.empty((0, self.feature_dim), np.float16)
        inputs = [self.preprocessing.pixels(image).to(memory_format=torch.channels_last) for image in images]
        if self.device == "cpu":
            # One image at a time is as fast on one core, and the bits do not depend on the batch.
            outputs = [self.network(pixels) for pixels in inputs]
            return self.preprocessing.features(torch.cat(outputs))
        return self.preprocessing.features(self.network(torch.cat(inputs).to(self.device)))


def build_network(name: str, pretrained: bool, num_classes: int = 0) -> torch.nn.Module:
    """A timm network without classifier, or with one of `num_classes` classes; with the hub's weights if `pretrained`.

    Raises:
        InvalidInput: timm has no model of this name, or no weights for it.
        Unavailable: the weights are not in the local cache and the hub cannot be reached.
    """
    ensure_torchvision()
    with leaving_out("wandb"):
        import timm

    if not timm.is_model(name.split(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise InvalidInput(f"timm has no model {name!r}" + (f"; similar: {', '.join(near)}" if near else ""))
    if pretrained and not timm.models.is_model_pretrained(name):
        raise InvalidInput(f"timm has no pretrained weights for {name!r}: give them with --weights FILE")
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=num_classes)
    except Exception as error:
        if not (pretrained and _is_network_failure(error)):
            raise
        raise Unavailable(
            f"the weights of {name!r} are not in the local cache and their hub cannot be reached ({error}). "
            f"Download them on a machine with a connection (huggingface.co/timm) and give the file with --weights FILE"
        ) from error


def _is_network_failure(error: BaseException | None) -> bool:
    """True if a failed download caused an error: an OSError, or a transport error of the hub's HTTP client."""
    while error is not None:
        if isinstance(error, OSError) or type(error).__module__.split(".")[0] in ("httpx", "httpx2", "requests"):
            return True
        error = error.__cause__ or error.__context__
    return False


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a weights file: `.safetensors`, or `.pth`, `.pt` or `.bin` with nothing but tensors.

    Raises:
        InvalidInput: no such file, it cannot be read without running code, or a number is not finite.
    """
    if not path.is_file():
        raise InvalidInput(f"weights file {path} does not exist")
    try:
        content: Any
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a reader may raise anything on hostile bytes
        raise InvalidInput(f"weights file {path} cannot be read: {_beginning(error)}") from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise InvalidInput(f"weights file {path} is not a mapping of names to tensors")
    for name, value in content.items():
        if value.is_floating_point() and not all_finite(value):
            raise InvalidInput(f"weights file {path}: {name!r:.100} has numbers that are not finite")
    return dict(content)


def _beginning(error: Exception) -> str:
    """The beginning of an error's message, which may list thousands of names."""
    return str(error)[:1000] or type(error).__name__


def load_state(network: torch.nn.Module, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Copy weights into a network without classifier; the file's classifier is not used.

    Raises:
        InvalidInput: weights are missing, unknown, or of another shape.
    """
    classifier = network.pretrained_cfg.get("classifier") or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    own = network.state_dict()
    wanted = {
        name: value
        for name, value in state.items()
        if name in own or not name.startswith(tuple(f"{head}." for head in heads))
    }
    try:
        network.load_state_dict(wanted, strict=True)
    except RuntimeError as error:
        raise InvalidInput(f"{source} does not fit the network: {_beginning(error)}") from error


def build(name: str, weights: Path | None = None, device: str = "cpu") -> TimmBackbone:
    """The extractor of a timm model, e.g. `resnet18` or `vit_small_patch14_dinov2.lvd142m`.

    Input size, interpolation and normalisation are those with which the weights were trained.

    Raises:
        InvalidInput: as `build_network`, `read_state` and `load_state`.
        Unavailable: as `build_network`.
    """
    network = build_network(name, pretrained=weights is None)
    if weights is not None:
        load_state(network, read_state(weights), str(weights))
    import timm.data

    config = timm.data.resolve_model_data_config(network)
    _, height_px, width_px = config["input_size"]
    preprocessing = Preprocessing(
        width_px=width_px,
        height_px=height_px,
        interpolation=config["interpolation"],
        mean_rgb=_to_255(config["mean"]),
        std_rgb=_to_255(config["std"]),
        root_features=True,
    )
    return TimmBackbone(f"timm:{name}", network, preprocessing, device)


def _to_255(rgb: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (255.0 * value for value in rgb)
    return red, green, blue
