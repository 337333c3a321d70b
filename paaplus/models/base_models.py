"""Base models by name: one line and one build function each. Any other name is a model of timm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from paaplus.models import lite, lite2, timm_backbone
from paaplus.models.extractor import Extractor
from paaplus.models.physiqueframe import extractor as physiqueframe
from paaplus.models.siblings import base_models as siblings
from paaplus.models.siblings import elta

BASE_MODELS: dict[str, Callable[[Path | None, str], Extractor]] = {
    "lite": lite.build,
    "lite2": lite2.build,
    "eat": siblings.build_eat,
    "elta": elta.build,
    "tanet": siblings.build_tanet,
    "physiqueframe": physiqueframe.build,
    "physiqueframe-bfloat16": partial(physiqueframe.build, precision="bfloat16"),
}

_TIMM_PREFIX = "timm:"


def load_extractor(name: str, weights: Path | None = None, device: str = "cpu") -> Extractor:
    """The extractor of a base model.

    Args:
        name: a name of `BASE_MODELS`, or `timm:NAME`, or a plain name that timm knows.
        weights: a file to read instead of the usual weights: .safetensors, or .pth with tensors only.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        InvalidInput: an unknown name, or weights that do not fit.
        Unavailable: the weights are not installed and cannot be downloaded.
    """
    if name in BASE_MODELS:
        return BASE_MODELS[name](weights, device)
    return timm_backbone.build(name.removeprefix(_TIMM_PREFIX), weights, device)
