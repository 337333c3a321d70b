"""The torch device that a setting names."""

from __future__ import annotations

import torch

from paaplus.errors import InvalidInput


def resolve_device(name: str) -> str:
    """The torch device of a setting: `auto`, `cpu`, `cuda` or `cuda:N`.

    On a machine without CUDA every setting gives `cpu`, so that a worker continues without its GPU.

    Raises:
        InvalidInput: another setting, or a CUDA device number that this machine does not have.
    """
    kind, _, index = name.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and (kind != "cuda" or not (index.isascii() and index.isdigit()))):
        raise InvalidInput(f"device {name!r}: auto, cpu, cuda or cuda:N")
    if kind == "cpu" or not torch.cuda.is_available():
        return "cpu"
    if index and int(index) >= torch.cuda.device_count():
        raise InvalidInput(f"device {name!r}: this machine has {torch.cuda.device_count()} CUDA device(s)")
    return f"cuda:{index or 0}"
