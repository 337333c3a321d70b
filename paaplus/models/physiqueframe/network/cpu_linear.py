"""Linear maps with weights laid out once for oneDNN: the same products, on a CPU about 1.5 times as fast.

torch multiplies through MKL, which on processors of other makes leaves much of them idle; oneDNN does not, but lays
the weights out anew at every call unless it is given them prepared. The operators are those that torch's own compiler
emits. Not for training: a prepared weight has no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_MIN_WEIGHTS = 10_000  # smaller maps gain nothing


class PackedLinear(nn.Module):
    """A frozen `nn.Linear`."""

    def __init__(self, linear: nn.Linear, num_rows: int) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), num_rows)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def can_pack() -> bool:
    """Whether this torch has the operators (they are not part of its public interface)."""
    operators = ("_reorder_linear_weight", "_linear_pointwise")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in operators)


def pack_linears(network: nn.Module, num_rows: int) -> int:
    """Replace the linear maps inside a network, each as soon as it is prepared; gives their number.

    Args:
        network: in evaluation mode, float32, on the CPU.
        num_rows: about how many rows they will be given at a time.
    """
    num_packed = 0
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear and child.weight.numel() >= _MIN_WEIGHTS:
                setattr(module, name, PackedLinear(child, num_rows))
                num_packed += 1
    return num_packed
