"""Load an official SMPLer-X checkpoint into this project's part of the network; a missing tensor is an error.

The published aesthetics code keeps the prefix `module.` and loads with `strict=False`. No tensor is loaded then, and
meshes come from random weights without a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.body.smpler_x import SIZES, SmplerX
from paaplus.models.physiqueframe.tensor_file import TensorFile

_PREFIX = "module."
_OLD_NAMES = {"backbone.": "encoder.", "body_rotation_net.": "body_regressor."}
# Parts of the official network that body meshes do not need, under their new and old names.
_NOT_NEEDED = ("box_net.", "hand_roi_net.", "hand_position_net.", "hand_regressor.", "hand_rotation_net.",
               "face_roi_net.", "face_position_net.", "smplx_layer.")  # fmt: skip
_MAX_LISTED = 5


def load_smpler_x(path: Path, size: str | None = None) -> SmplerX:
    """The regressor of a checkpoint file: official (`.pth.tar`, tensors only) or `.safetensors`.

    Args:
        path: the file.
        size: `s`, `b`, `l` or `h`; None: decided by the width of the file's tensors.

    Raises:
        InvalidInput: the file cannot be read without running code, or a tensor is missing, unknown or of another shape.
    """
    file = TensorFile(path)
    names = {official_name(name): name for name in file.shapes()}
    state = {new: file.read(name) for new, name in names.items() if not new.startswith(_NOT_NEEDED)}
    return build_smpler_x(state, size or _size_of(state, str(path)), str(path))


def build_smpler_x(state: Mapping[str, Tensor], size: str, source: str) -> SmplerX:
    """The regressor with weights under their official names; tensors of parts that it lacks are not used.

    Raises:
        InvalidInput: a tensor is missing, unknown, of another shape or not finite, or the size is unknown.
    """
    if size not in SIZES:
        raise InvalidInput(f"SMPLer-X of size {size!r}; known: {sorted(SIZES)}")
    wanted = {name: tensor for name, tensor in state.items() if not name.startswith(_NOT_NEEDED)}
    with torch.device("meta"):  # no memory, no random numbers: every tensor comes from the file
        network = SmplerX(size)
    own = network.state_dict()
    if problems := [
        *_problem("missing", [name for name in own if name not in wanted]),
        *_problem("unexpected", [name for name in wanted if name not in own]),
        *_problem("of another shape", [n for n, t in wanted.items() if n in own and t.shape != own[n].shape]),
        *_problem("not finite", [n for n, t in wanted.items() if n in own and not bool(t.isfinite().all())]),
    ]:
        raise InvalidInput(f"{source} does not fit SMPLer-X of size {size}: {'; '.join(problems)}")
    network.load_state_dict({name: tensor.float() for name, tensor in wanted.items()}, assign=True)
    return network.eval().requires_grad_(False)


def official_name(name: str) -> str:
    """A tensor's current official name, without the prefix `module.`."""
    name = name.removeprefix(_PREFIX)
    for old, new in _OLD_NAMES.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _size_of(state: Mapping[str, Tensor], source: str) -> str:
    tokens = state.get("encoder.task_tokens")
    width = tokens.shape[-1] if tokens is not None and tokens.ndim else None
    for name, size in SIZES.items():
        if size.width == width:
            return name
    raise InvalidInput(f"{source} is not an SMPLer-X checkpoint: encoder.task_tokens of width {width}")


def _problem(what: str, names: list[str]) -> list[str]:
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return [f"{len(names)} {what} ({', '.join(names[:_MAX_LISTED])}{more})"] if names else []
