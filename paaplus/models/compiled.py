"""A frozen network compiled for a CPU by ONNX Runtime: about twice as fast as PyTorch, equal up to rounding.

`python benchmarks/extraction.py` measures both side by side. Shape letters: B = images, C, H, W = input size.
"""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import torch
from torch import Tensor, nn

from paaplus.settings import get_settings

if TYPE_CHECKING:
    import onnxruntime

log = structlog.get_logger(__name__)


class CompiledNetwork:
    """Runs a network on inputs of one size. Its bits depend neither on the batch nor on the number of threads.

    Each image runs alone, since on a CPU a batch is not faster.
    """

    def __init__(self, key: str, make_network: Callable[[], nn.Module], size_px: tuple[int, int]) -> None:
        """Compile a network, or read what was compiled before from `cache/compiled` in the platform's home.

        Args:
            key: identifies weights and outputs: the name of the kept file begins with it.
            make_network: called only where no compiled network is kept. It makes a frozen network in evaluation mode on
                the CPU that gives a tensor or a tuple of tensors of shape (B, ...).
            size_px: height and width of its input, which has three channels.
        """
        file = (
            get_settings().home / "cache" / "compiled" / f"{key}-torch-{torch.__version__}-onnx-{version('onnx')}.onnx"
        )
        session = _kept(file)
        if session is None:
            document = _exported(make_network(), size_px)
            session = _session(document)
            _keep(file, document)
        self._session = session
        (self._input,) = (entry.name for entry in self._session.get_inputs())

    def __call__(self, pixels_BCHW: Tensor) -> tuple[Tensor, ...]:
        """The network's outputs, each of shape (B, ...)."""
        outputs = [self._session.run(None, {self._input: pixel_CHW[None].numpy()}) for pixel_CHW in pixels_BCHW]
        return tuple(torch.cat([torch.from_numpy(each) for each in part]) for part in zip(*outputs, strict=True))


def _session(document: bytes) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave their core
    return onnxruntime.InferenceSession(document, options, providers=["CPUExecutionProvider"])


def _kept(file: Path) -> onnxruntime.InferenceSession | None:
    """The network that another process has compiled; None if there is none that can be read."""
    try:
        return _session(file.read_bytes())
    except FileNotFoundError:
        return None
    except Exception as error:  # the runtime has no common class of errors
        log.warning("a compiled network cannot be read: it is compiled again", file=str(file), error=str(error)[:200])
        return None


def _keep(file: Path, document: bytes) -> None:
    """Write the file in one step, since other processes may read and write it; without it each compiles for itself."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
            part.write(document)
        os.replace(part.name, file)


def _exported(network: nn.Module, size_px: tuple[int, int]) -> bytes:
    """The network as an ONNX document."""
    document = io.BytesIO()
    example = torch.zeros(1, 3, *size_px)
    with torch.no_grad(), warnings.catch_warnings():
        # The exporter by tracing needs no further package, and does for a network of plain layers.
        warnings.simplefilter("ignore")
        torch.onnx.export(network.to(memory_format=torch.contiguous_format), (example,), document, dynamo=False)
    return document.getvalue()
