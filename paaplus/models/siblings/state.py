"""Official weight files of the laboratory's networks: read as tensors only, recognised, and loaded strictly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from paaplus.errors import InvalidInput
from paaplus.models.timm_backbone import read_state

# Tables that a network works out for itself; some files hold them.
DERIVED = ("relative_position_index", "relative_coords_table", "attn_mask")
_MAX_NAMES_TOLD = 5

State = Mapping[str, Tensor]

_DRAWS = {Tensor.uniform_, Tensor.normal_, Tensor.erfinv_}  # erfinv_: of a normal drawn between limits

# What each file can be told by, the special before the general: what its reader is called, and the sign.
_SIGNS: tuple[tuple[str, Callable[[State], bool]], ...] = (
    ("exposure_map", lambda state: "ffa_group.pre.0.weight" in state),
    ("laion", lambda state: "layers.0.weight" in state and "layers.7.weight" in state),
    ("tanet", lambda state: "res365_last.conv1.weight" in state and _rows(state, "head.2.weight") == 1),
    ("tanet_ava", lambda state: "res365_last.conv1.weight" in state and _rows(state, "head.2.weight") == 10),
    ("mnet", lambda state: "base_model.0.0.0.weight" in state and "base_model.0.1.conv.7.weight" in state),
    ("nima", lambda state: any(name.endswith("features.0.0.weight") for name in state)),
    ("prompt_det", lambda state: any(name.startswith("icaa_clip.") for name in state)),
    ("icaa", lambda state: "hst_head.weight" in state),
    ("eat_tad66k", lambda state: "patch_proj.0.weight" in state and _rows(state, "cls_head.weight") == 1),
    ("eat", lambda state: "patch_proj.0.weight" in state and _rows(state, "cls_head.weight") == 10),
    ("elta", lambda state: "linear_emd.0.weight" in state),
)
_SAME_FILE = {"elta_regression": "elta", "tanet_ava_no_theme": "tanet_ava"}


def read(file: Path) -> dict[str, Tensor]:
    """The tensors of a file, without what a parallel training puts before every name.

    Raises:
        InvalidInput: no such file, one that needs code to be read, or numbers that are not finite.
    """
    return {name.removeprefix("module."): tensor for name, tensor in read_state(file).items()}


def reader_of(state: State) -> str | None:
    """The tool that such a file is for; None: no tool is known for it."""
    return next((tool for tool, has_sign in _SIGNS if has_sign(state)), None)


def check_is_for(tool: str, state: State, source: str) -> None:
    """Refuse a file that another tool reads.

    Raises:
        InvalidInput: the message names the tool that the file is for.
    """
    meant = reader_of(state)
    if meant == _SAME_FILE.get(tool, tool):
        return
    if meant is None:
        raise InvalidInput(f"{source} is no file of tool {tool!r}: its first tensors are {_some(state)}")
    raise InvalidInput(f"{source} is a file of tool {meant!r}, not of {tool!r}")


def load(network: nn.Module, state: State, source: str) -> nn.Module:
    """Copy the weights into the network, which then only computes. Derived tables in the state are left out.

    Raises:
        InvalidInput: a tensor is missing, left over, or of another shape.
    """
    own = network.state_dict()
    given = {name: tensor for name, tensor in state.items() if name.rpartition(".")[2] not in DERIVED}
    missing, left_over = own.keys() - given.keys(), given.keys() - own.keys()
    if missing or left_over:
        raise InvalidInput(
            f"{source} does not fit: {len(missing)} tensors are missing ({_some(missing)}), "
            f"{len(left_over)} are left over ({_some(left_over)})"
        )
    wrong = [name for name in own if own[name].shape != given[name].shape]
    if wrong:
        name = wrong[0]
        raise InvalidInput(
            f"{source} does not fit: {name} has shape {tuple(given[name].shape)}, needed {tuple(own[name].shape)}; "
            f"{len(wrong)} such tensors"
        )
    network.load_state_dict(given)
    return network.eval().requires_grad_(False)


def empty(build: Callable[[], nn.Module]) -> nn.Module:
    """A network whose parameters are not drawn at random first, since a file gives all of them.

    Tables that it works out for itself are there. The parameters hold whatever was in memory.
    """
    with _NothingDrawn():
        return build()


class _NothingDrawn(TorchFunctionMode):
    """Leaves tensors as they are where their numbers would be drawn: that takes longer than reading a file."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWS or getattr(func, "__module__", None) == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _rows(state: State, name: str) -> int:
    return len(state[name]) if name in state and state[name].ndim else 0


def _some(names: object) -> str:
    listed = sorted(str(name)[:80] for name in names)  # type: ignore[attr-defined]
    return ", ".join(listed[:_MAX_NAMES_TOLD]) + (", ..." if len(listed) > _MAX_NAMES_TOLD else "") or "none"
