"""The adapters as torch modules, for training; served from NumPy (`scoring/adapters.py`).

Every parameter is in units of its prior standard deviation, so that one learning rate and one penalty, the sum of
squares, suit every base model, aspect and adapter kind.

Shape letters: B = items, R = taste space dim, A = aspects, H = bottleneck rank. A module reads rows
`x = [generic_A, taste_R]`.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from paaplus.scoring.adapters import Adapter, Bottleneck, TasteVector
from paaplus.scoring.base import BaseScorer
from paaplus.strategies.base import SCORE_CENTER


class Elementwise(nn.Module):
    """One weight per aspect: `x_BA * weight_A`."""

    def __init__(self, num_aspects: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_aspects))

    def forward(self, x_BA: Tensor) -> Tensor:
        return x_BA * self.weight


class AdapterModule(nn.Module):
    """`generic + offset + slope * (generic - center) + delta(taste)`, not clipped: a clipped score has no gradient."""

    offset_sd_A: Tensor
    slope_sd_A: Tensor

    def __init__(self, base: BaseScorer) -> None:
        super().__init__()
        self.num_aspects = len(base.aspects)
        self.offset = Elementwise(self.num_aspects)
        self.slope = Elementwise(self.num_aspects)
        self.register_buffer("offset_sd_A", _tensor(base.offset_sd_A))
        self.register_buffer("slope_sd_A", _tensor(base.slope_sd_A))

    def forward(self, x: Tensor) -> Tensor:
        """Scores of rows, shape (B, A)."""
        generic_BA, taste_BR = x[:, : self.num_aspects], x[:, self.num_aspects :]
        offset_BA = self.offset(self.offset_sd_A.expand(len(x), -1))
        slope_BA = self.slope((generic_BA - SCORE_CENTER) * self.slope_sd_A)
        return generic_BA + offset_BA + slope_BA + self.delta(taste_BR)

    def delta(self, taste_BR: Tensor) -> Tensor:
        raise NotImplementedError

    def penalty(self) -> Tensor:
        """Minus twice the log prior density of the parameters, up to a constant."""
        return torch.stack([parameter.square().sum() for parameter in self.parameters()]).sum()

    def load(self, adapter: Any) -> None:
        """Take over an adapter's parameters."""
        slope_A = adapter.alpha_A.astype(np.float64) - 1.0
        _fill(self.slope.weight, _ratio(slope_A, self.slope_sd_A))
        _fill(self.offset.weight, _ratio(adapter.beta_A + slope_A * SCORE_CENTER, self.offset_sd_A))

    def to_adapter(self, base_digest: str) -> Adapter:
        """The parameters as served, float32."""
        raise NotImplementedError

    def _alpha_beta(self) -> tuple[np.ndarray, np.ndarray]:
        slope_A = _array(self.slope.weight) * _array(self.slope_sd_A)
        offset_A = _array(self.offset.weight) * _array(self.offset_sd_A)
        return (1.0 + slope_A).astype(np.float32), (offset_A - slope_A * SCORE_CENTER).astype(np.float32)


class TasteVectorModule(AdapterModule):
    """Linear in taste space."""

    prior_sd_A: Tensor

    def __init__(self, base: BaseScorer) -> None:
        super().__init__(base)
        self.weight = cast(nn.Linear, skip_init(nn.Linear, base.taste_dim, self.num_aspects, bias=False))
        nn.init.zeros_(self.weight.weight)
        self.register_buffer("prior_sd_A", _tensor(base.prior_sd_A))

    def delta(self, taste_BR: Tensor) -> Tensor:
        return cast(Tensor, self.weight(taste_BR) * self.prior_sd_A)

    def load(self, adapter: TasteVector) -> None:
        super().load(adapter)
        _fill(self.weight.weight, _ratio(adapter.weight_RA, self.prior_sd_A).T)

    def to_adapter(self, base_digest: str) -> TasteVector:
        weight_RA = _array(self.weight.weight).T * _array(self.prior_sd_A)
        return TasteVector(base_digest, *self._alpha_beta(), weight_RA.astype(np.float32))


class BottleneckModule(AdapterModule):
    """`tanh(taste @ down + bias) @ up` that starts at no change, yet with gradients everywhere.

    Hidden units come in pairs that see the same random direction and speak with opposite sign, so they cancel.
    """

    up_sd_A: Tensor
    SCALE = dict(down=1.0, up=1.0, c=1.0)

    def __init__(self, base: BaseScorer, rank: int) -> None:
        super().__init__(base)
        S = self.SCALE
        self.down_sd = float(np.mean(np.asarray(base.prior_sd_A) / np.asarray(base.noise_sd_A)))
        self.down = cast(nn.Linear, skip_init(nn.Linear, base.taste_dim, rank))
        self.up = cast(nn.Linear, skip_init(nn.Linear, rank, self.num_aspects, bias=False))
        self.register_buffer("up_sd_A", _tensor(base.noise_sd_A) * S["up"] / rank**0.5)
        A = self.num_aspects
        g = torch.Generator().manual_seed(0)
        half = torch.randn(rank // 2, base.taste_dim, generator=g) * S["down"]
        down = torch.zeros(rank, base.taste_dim); down[0::2][: rank // 2] = half; down[1::2] = half
        up = torch.zeros(A, rank)
        for p in range(rank // 2):
            a = p % A
            n = 2 * len(range(a, rank // 2, A))
            c = S["c"] * float(base.noise_sd_A[a]) / n**0.5 / float(self.up_sd_A[a])
            up[a, 2 * p], up[a, 2 * p + 1] = c, -c
        with torch.no_grad():
            self.down.weight.copy_(down); self.down.bias.zero_(); self.up.weight.copy_(up)
        self.start = {n: p.detach().clone() for n, p in self.named_parameters()}

    def penalty(self):
        return torch.stack([(p - self.start[n]).square().sum() for n, p in self.named_parameters()]).sum()

    def delta(self, taste_BR: Tensor) -> Tensor:
        hidden_BH = torch.tanh(self.down(taste_BR * self.down_sd))
        return cast(Tensor, self.up(hidden_BH) * self.up_sd_A)

    def load(self, adapter: Bottleneck) -> None:
        super().load(adapter)
        if not (adapter.down_RH.any() or adapter.up_HA.any()):
            return  # the zero adapter is a saddle that gradients cannot leave: keep the random directions
        _fill(self.down.weight, adapter.down_RH.T / self.down_sd)
        _fill(self.down.bias, adapter.bias_H)
        _fill(self.up.weight, _ratio(adapter.up_HA, self.up_sd_A).T)

    def to_adapter(self, base_digest: str) -> Bottleneck:
        return Bottleneck(
            base_digest,
            *self._alpha_beta(),
            down_RH=(_array(self.down.weight).T * self.down_sd).astype(np.float32),
            bias_H=_array(self.down.bias).astype(np.float32),
            up_HA=(_array(self.up.weight).T * _array(self.up_sd_A)).astype(np.float32),
        )


def build_module(kind: str, base: BaseScorer, rank: int, generator: torch.Generator) -> AdapterModule:
    """A module of an adapter kind at zero change; `generator` draws what must not start at zero."""
    return TasteVectorModule(base) if kind == TasteVector.kind else BottleneckModule(base, rank)


def rows(generic_NA: np.ndarray, taste_NR: np.ndarray) -> Tensor:
    """Generic scores and taste as a module reads them, shape (N, A + R), float32."""
    return torch.from_numpy(np.concatenate([generic_NA, taste_NR], axis=1).astype(np.float32))


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32))


def _array(tensor: Tensor) -> np.ndarray:
    return cast(np.ndarray, tensor.detach().cpu().numpy().astype(np.float64))


def _ratio(value: np.ndarray, sd_A: Tensor) -> np.ndarray:
    """`value / sd_A`, and 0 where the prior allows no change at all."""
    divisor_A = _array(sd_A)
    return np.where(divisor_A > 0, value / np.where(divisor_A > 0, divisor_A, 1.0), 0.0)


@torch.no_grad()
def _fill(parameter: Tensor, value: np.ndarray) -> None:
    parameter.copy_(torch.from_numpy(np.ascontiguousarray(value, np.float32)))
