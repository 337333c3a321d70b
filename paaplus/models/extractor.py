"""Extractors: the interface of a base model's backbone, its preprocessing, and the digest that identifies it.

Shape letters: B = images, D = feature dim, H, W = input size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image

from paaplus.scoring.frame_heads import FrameHeads


@dataclass(frozen=True)
class FeatureBlock:
    """Consecutive features of one kind. All blocks have the same weight in taste space, whatever their size and unit.

    Attributes:
        size: number of features.
        standardize: scale each feature of the block to variance 1 first; False: keep their proportions.
    """

    size: int
    standardize: bool = False


class Extractor(Protocol):
    """A frozen backbone with its preprocessing inside."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str:
        """Identifies everything that the features depend on: weights and preprocessing."""

    @property
    def feature_dim(self) -> int: ...

    @property
    def blocks(self) -> tuple[FeatureBlock, ...]:
        """The blocks that the features consist of, in order; their sizes add up to `feature_dim`."""

    def extract(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Features of RGB images, shape (B, D), float16. On a CPU, an image's bits do not depend on its batch."""


@runtime_checkable
class BringsHeads(Protocol):
    """An extractor whose network has heads: their scores are the base model's generic scores."""

    @property
    def heads(self) -> FrameHeads: ...


@runtime_checkable
class Explains(Protocol):
    """An extractor that refuses some images, with features of NaN, and gives the reason."""

    def explain(self, image: Image.Image) -> str | None:
        """The reason why an image has no features; None if it has features."""


@dataclass(frozen=True)
class Preprocessing:
    """The network's input from an RGB image, and the features from the network's output.

    The image is resized to the input size without keeping its proportions; it is not cropped, because composition is
    part of taste. Then each channel is `(pixel - mean) / std`, with pixels from 0 to 255. With `root_features`, a
    feature is `sign(f) * sqrt(|f|)`, which shortens the long tail of averaged ReLU activations.
    """

    width_px: int
    height_px: int
    interpolation: str  # a name of PIL.Image.Resampling, in lower case
    mean_rgb: tuple[float, float, float]
    std_rgb: tuple[float, float, float]
    root_features: bool

    def pixels(self, image: Image.Image) -> torch.Tensor:
        """The network's input, shape (1, 3, H, W), float32."""
        filter_ = Image.Resampling[self.interpolation.upper()]
        resized = image.convert("RGB").resize((self.width_px, self.height_px), filter_)
        pixel_HW3 = torch.from_numpy(np.array(resized, np.float32))
        normal_HW3 = (pixel_HW3 - torch.tensor(self.mean_rgb)) / torch.tensor(self.std_rgb)
        return normal_HW3.permute(2, 0, 1).unsqueeze(0).contiguous()

    def features(self, output_BD: torch.Tensor) -> np.ndarray:
        """Features as they are cached, shape (B, D): float16, clipped to its range."""
        value_BD = output_BD.detach().float().cpu().numpy()
        return to_half(signed_root(value_BD) if self.root_features else value_BD)


def signed_root(value_BD: np.ndarray) -> np.ndarray:
    """`sign(v) * sqrt(|v|)` of every value."""
    return np.sign(value_BD) * np.sqrt(np.abs(value_BD))


def to_half(value_BD: np.ndarray) -> np.ndarray:
    """Values as features are cached: float16, clipped to its range."""
    limit = float(np.finfo(np.float16).max)
    return np.clip(value_BD, -limit, limit).astype(np.float16)


def extractor_digest(state: Mapping[str, torch.Tensor], preprocessing: Preprocessing) -> str:
    """SHA-256 over every weight (name, dtype, shape, bytes; names in order) and the preprocessing."""
    return weights_digest(state, json.dumps(asdict(preprocessing), sort_keys=True))


def weights_digest(state: Mapping[str, torch.Tensor], about: str) -> str:
    """SHA-256 over a text and every weight (name, dtype, shape, bytes; names in order)."""
    hasher = hashlib.sha256(about.encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        hasher.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()
