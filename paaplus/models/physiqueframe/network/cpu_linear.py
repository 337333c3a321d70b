"""Linear maps with weights packed once for oneDNN: the same products, about 1.5 times as fast on a CPU.

torch multiplies with MKL, which is slow on processors of other makers than Intel. oneDNN is not, but packs the weights
at every call unless they are packed already. The operators are those that torch's own compiler emits. Not for training:
a packed weight has no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_MIN_WEIGHTS = 10_000  # smaller maps are not faster when packed


class PackedLinear(nn.Module):
    """A frozen `nn.Linear`."""

    def __init__(self, linear: nn.Linear, num_rows: int) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), num_rows)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def can_pack() -> bool:
    """True if this torch has the operators, which are not part of its public interface."""
    operators = ("_reorder_linear_weight", "_linear_pointwise")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in operators)


def pack_linears(network: nn.Module, num_rows: int) -> int:
    """Replace the linear maps of a network by packed ones, in place; returns their number.

    Args:
        network: in evaluation mode, float32, on the CPU.
        num_rows: approximate number of rows of their inputs.
    """
    num_packed = 0
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear and child.weight.numel() >= _MIN_WEIGHTS:
                setattr(module, name, PackedLinear(child, num_rows))
                num_packed += 1
    return num_packed
