"""A frozen network compiled for a CPU by ONNX Runtime: about twice as fast as PyTorch, equal up to rounding.

`python benchmarks/extraction.py` measures both side by side. Shape letters: B = images, C, H, W = input size.
"""

from __future__ import annotations

import io
import warnings

import torch
from torch import Tensor, nn


class CompiledNetwork:
    """Runs a network on inputs of one size. Its bits depend neither on the batch nor on the number of threads.

    Each image runs alone, since on a CPU a batch is not faster.
    """

    def __init__(self, network: nn.Module, size_px: tuple[int, int]) -> None:
        """Compile a network.

        Args:
            network: frozen, in evaluation mode, on the CPU; it gives a tensor or a tuple of tensors of shape (B, ...).
            size_px: height and width of its input, which has three channels.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave their core
        self._session = onnxruntime.InferenceSession(
            _exported(network, size_px), options, providers=["CPUExecutionProvider"]
        )
        (self._input,) = (entry.name for entry in self._session.get_inputs())

    def __call__(self, pixels_BCHW: Tensor) -> tuple[Tensor, ...]:
        """The network's outputs, each of shape (B, ...)."""
        outputs = [self._session.run(None, {self._input: pixel_CHW[None].numpy()}) for pixel_CHW in pixels_BCHW]
        return tuple(torch.cat([torch.from_numpy(each) for each in part]) for part in zip(*outputs, strict=True))


def _exported(network: nn.Module, size_px: tuple[int, int]) -> bytes:
    """The network as an ONNX document."""
    document = io.BytesIO()
    example = torch.zeros(1, 3, *size_px)
    with torch.no_grad(), warnings.catch_warnings():
        # The exporter by tracing needs no further package, and does for a network of plain layers.
        warnings.simplefilter("ignore")
        torch.onnx.export(network.to(memory_format=torch.contiguous_format), (example,), document, dynamo=False)
    return document.getvalue()
