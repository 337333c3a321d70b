"""PhysiqueFrame's weights: the official layout or our own into a network, and out as safetensors."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.network.config import FrameConfig
from paaplus.models.physiqueframe.network.frame import PhysiqueFrame
from paaplus.models.physiqueframe.tensor_file import TensorFile, TensorSource
from paaplus.models.physiqueframe.weights.official_names import is_derived, is_unused, own_name, without_prefix

_FORMAT = "physiqueframe-1"
_ABOUT = "physiqueframe"  # the metadata's entry
_HALF_STEP = 2e-3  # what a file in half precision may be off by
_NUM_NAMED = 3  # of many wrong tensors, so many are named in a message


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor of a file; names as they stand in it.

    Attributes:
        loaded: copied into the network.
        unused: left out by design; no score depends on them.
        derived: follow from the sizes; compared with ours, not copied.
        missing: what the network needs and the file has not, by our names.
        unexpected: what the network does not know.
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
        return not (self.missing or self.unexpected or self.misshaped)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors fit, {len(self.unused)} unused, {len(self.derived)} derived"]
        for name in ("missing", "unexpected", "misshaped"):
            entries = getattr(self, name)
            if entries:
                more = ", ..." if len(entries) > _NUM_NAMED else ""
                parts.append(f"{len(entries)} {name} ({', '.join(str(entry) for entry in entries[:_NUM_NAMED])}{more})")
        return "; ".join(parts)


def load_checkpoint(path: Path, config: FrameConfig | None = None) -> tuple[PhysiqueFrame, LoadReport]:
    """A network in evaluation mode with a file's weights, and the report on them.

    Args:
        path: the official `.pth`, or a `.safetensors` in its layout or in ours.
        config: sizes and switches; default: those written in the file, else those of the official checkpoint.

    Raises:
        InvalidInput: a file that cannot be read, that does not fit, or that holds numbers that are not finite.
    """
    file = TensorFile(path)
    return build(file, config or _written_config(file) or FrameConfig(), str(path))


def build(source: TensorSource, config: FrameConfig, name: str) -> tuple[PhysiqueFrame, LoadReport]:
    """A network from any source of tensors; each is read once, straight into the network."""
    with torch.device("meta"):
        network = PhysiqueFrame(config)
    wanted = network.state_dict()
    buffers = dict(network.named_buffers())
    report, sources = _compare(source, wanted, buffers)
    if not report.fits:
        raise InvalidInput(f"{name} is no checkpoint of this PhysiqueFrame: {report}")
    for official in report.derived:
        ours = buffers[own_name(without_prefix(official))]
        if not torch.allclose(source.read(official).double(), ours.double(), rtol=0, atol=_HALF_STEP):
            raise InvalidInput(f"{name}: {official} is not what windows of this size give")
    state = {own: _read(source, official, wanted[own], name) for own, official in sources.items()}
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval(), report


def save_checkpoint(network: PhysiqueFrame, path: Path) -> None:
    """Write weights and configuration as safetensors; the file appears whole or not at all."""
    about = {"format": _FORMAT, "config": replace(network.config).to_dict()}
    part = path.with_name(path.name + ".part")
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    # one entry: safetensors writes several in an order of its own, different from run to run
    save_file(state, part, {_ABOUT: json.dumps(about, sort_keys=True)})
    os.replace(part, path)


def convert_checkpoint(source: Path, target: Path, config: FrameConfig | None = None) -> LoadReport:
    """Read a checkpoint strictly and write it as safetensors.

    Raises:
        InvalidInput: as for `load_checkpoint`; or a target that is not named `.safetensors`.
    """
    if target.suffix != ".safetensors":
        raise InvalidInput(f"{target}: the converted file is a .safetensors")
    network, report = load_checkpoint(source, config)
    save_checkpoint(network, target)
    return report


def _written_config(file: TensorFile) -> FrameConfig | None:
    if _ABOUT not in file.metadata:
        return None
    try:
        about = json.loads(file.metadata[_ABOUT])
        if about["format"] != _FORMAT:
            raise ValueError(f"format {about['format']!r:.64}, not {_FORMAT!r}")
        return FrameConfig.from_dict(about["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"weights file {file.path}: its configuration cannot be read: {error}") from error


def _compare(
    source: TensorSource, wanted: dict[str, Tensor], buffers: dict[str, Tensor]
) -> tuple[LoadReport, dict[str, str]]:
    """The report, and for each of our tensors its name in the source."""
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
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise InvalidInput(f"{name}: {official} holds numbers that are not finite")
    return tensor.to(like.dtype).view(like.shape)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Convolutions of size 1 are linear maps here: the same numbers, fewer axes."""
    return tuple(size for size in shape if size != 1)
