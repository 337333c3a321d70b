"""Load PhysiqueFrame's weights, from the official layout or this project's, and save them as safetensors."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from paaplus.errors import InvalidInput
from paaplus.models.finite import all_finite
from paaplus.models.physiqueframe.network.config import FrameConfig
from paaplus.models.physiqueframe.network.frame import PhysiqueFrame
from paaplus.models.physiqueframe.tensor_file import TensorFile, TensorSource
from paaplus.models.physiqueframe.weights.official_names import is_derived, is_unused, own_name, without_prefix

_FORMAT = "physiqueframe-1"
_METADATA_KEY = "physiqueframe"
_HALF_STEP = 2e-3  # rounding error of a file in half precision
_MAX_LISTED = 3  # wrong tensors that a message lists


@dataclass(frozen=True)
class LoadReport:
    """The use of every tensor of a file; names are those in the file.

    Attributes:
        loaded: copied into the network.
        unused: not needed, because no score depends on them.
        derived: computed from the sizes; compared with the network's, not copied.
        missing: needed by the network and not in the file, under this project's names.
        unexpected: unknown to the network.
        misshaped: name, shape in the file, shape in the network.
    """

    loaded: tuple[str, ...]
    unused: tuple[str, ...]
    derived: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def fits(self) -> bool:
        """True if no tensor is missing, unexpected or of another shape."""
        return not (self.missing or self.unexpected or self.misshaped)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors fit, {len(self.unused)} unused, {len(self.derived)} derived"]
        for name in ("missing", "unexpected", "misshaped"):
            entries = getattr(self, name)
            if entries:
                more = ", ..." if len(entries) > _MAX_LISTED else ""
                parts.append(
                    f"{len(entries)} {name} ({', '.join(str(entry) for entry in entries[:_MAX_LISTED])}{more})"
                )
        return "; ".join(parts)


def load_checkpoint(path: Path, config: FrameConfig | None = None) -> tuple[PhysiqueFrame, LoadReport]:
    """A network in evaluation mode with the weights of a file, and the report on its tensors.

    Args:
        path: the official `.pth`, or a `.safetensors` in its layout or in this project's.
        config: sizes and switches; None: those in the file, or those of the official checkpoint.

    Raises:
        InvalidInput: the file cannot be read or does not fit, or a number is not finite.
    """
    file = TensorFile(path)
    return build(file, config or _written_config(file) or FrameConfig(), str(path))


def build(source: TensorSource, config: FrameConfig, name: str) -> tuple[PhysiqueFrame, LoadReport]:
    """A network in evaluation mode from a source of tensors, each of which is read once; `name` is used in errors.

    Raises:
        InvalidInput: as for `load_checkpoint`.
    """
    with torch.device("meta"):
        network = PhysiqueFrame(config)
    wanted = network.state_dict()
    buffers = dict(network.named_buffers())
    report, sources = _compare(source, wanted, buffers)
    if not report.fits:
        raise InvalidInput(f"{name} is not a checkpoint of this PhysiqueFrame: {report}")
    for official in report.derived:
        ours = buffers[own_name(without_prefix(official))]
        if not torch.allclose(source.read(official).double(), ours.double(), rtol=0, atol=_HALF_STEP):
            raise InvalidInput(f"{name}: {official} does not match windows of this size")
    state = {own: _read(source, official, wanted[own], name) for own, official in sources.items()}
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval(), report


def save_checkpoint(network: PhysiqueFrame, path: Path) -> None:
    """Write weights and configuration as safetensors, atomically."""
    metadata = {"format": _FORMAT, "config": replace(network.config).to_dict()}
    part = path.with_name(path.name + ".part")
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    # one entry only: safetensors writes several in an order that differs from run to run
    save_file(state, part, {_METADATA_KEY: json.dumps(metadata, sort_keys=True)})
    os.replace(part, path)


def convert_checkpoint(source: Path, target: Path, config: FrameConfig | None = None) -> LoadReport:
    """Read a checkpoint strictly and write it as safetensors.

    Raises:
        InvalidInput: as for `load_checkpoint`; or the target's name does not end in `.safetensors`.
    """
    if target.suffix != ".safetensors":
        raise InvalidInput(f"{target}: the name of the converted file must end in .safetensors")
    network, report = load_checkpoint(source, config)
    save_checkpoint(network, target)
    return report


def _written_config(file: TensorFile) -> FrameConfig | None:
    if _METADATA_KEY not in file.metadata:
        return None
    try:
        metadata = json.loads(file.metadata[_METADATA_KEY])
        if metadata["format"] != _FORMAT:
            raise ValueError(f"format {metadata['format']!r:.64}, not {_FORMAT!r}")
        return FrameConfig.from_dict(metadata["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"weights file {file.path}: its configuration cannot be read: {error}") from error


def _compare(
    source: TensorSource, wanted: dict[str, Tensor], buffers: dict[str, Tensor]
) -> tuple[LoadReport, dict[str, str]]:
    """The report, and for each tensor of the network its name in the source."""
    unused, derived, unexpected, misshaped = [], [], [], []
    sources: dict[str, str] = {}
    for name, shape in source.shapes().items():
        official = without_prefix(name)
        own = own_name(official)
        if is_unused(official):
            unused.append(name)
        elif is_derived(own) and own in buffers:
            fits = tuple(buffers[own].shape) == shape
            derived.append(name) if fits else misshaped.append((name, shape, tuple(buffers[own].shape)))
        elif own not in wanted or own in sources:
            unexpected.append(name)
        else:
            sources[own] = name
            if _without_ones(shape) != _without_ones(tuple(wanted[own].shape)):
                misshaped.append((name, shape, tuple(wanted[own].shape)))
    report = LoadReport(
        loaded=tuple(sources.values()),
        unused=tuple(unused),
        derived=tuple(derived),
        missing=tuple(name for name in wanted if name not in sources),
        unexpected=tuple(unexpected),
        misshaped=tuple(misshaped),
    )
    return report, sources


def _read(source: TensorSource, official: str, like: Tensor, name: str) -> Tensor:
    tensor = source.read(official)
    if tensor.is_floating_point() and not all_finite(tensor):
        raise InvalidInput(f"{name}: {official} has numbers that are not finite")
    return tensor.to(like.dtype).view(like.shape)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without axes of size 1: convolutions of size 1 are linear maps here, with the same numbers."""
    return tuple(size for size in shape if size != 1)
