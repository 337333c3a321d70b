"""The adapters as torch modules, for training; served from NumPy (`scoring/adapters.py`).

Every parameter is in units of its prior standard deviation, so that one learning rate and one penalty, the sum of
squares, suit every base model, aspect and adapter kind.

Shape letters: B = items, R = taste space dim, A = aspects, H = bottleneck rank, P = pairs of hidden
units. A module reads rows `x = [generic_A, taste_R]`.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from paaplus.errors import InvalidInput
from paaplus.scoring.adapters import Adapter, Bottleneck, TasteVector
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import SCORE_CENTER

# Chosen on people and photographs of OASIS that no reported number uses (docs/decisions/0005).
_DIRECTION_SD = 0.3  # of the random directions: small enough for tanh to be nearly linear at first
_UP_SHARE = 0.6  # how much of the prior change may come from the directions as they are
_DIRECTIONS_SEED = 0
_SMALLEST_UNIT = 1e-3


class Elementwise(nn.Module):
    """One weight per aspect: `x_BA * weight_A`.

    In float64, in which a sum of float32 gradients is exact: what a comparison pulls up at one image and down at the
    other is then nothing at all for an offset, instead of rounding that Adam would enlarge to full steps.
    """

    def __init__(self, num_aspects: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_aspects))

    def forward(self, x_BA: Tensor) -> Tensor:
        return (x_BA.double() * self.weight).float()


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
        """Squared distance from the prior's centre: minus twice the log prior density, up to a constant."""
        distances = [
            (parameter - self.get_buffer(_center_name(name))).square().sum()
            for name, parameter in self.named_parameters()
        ]
        return torch.stack(distances).sum()

    def count_from_here(self) -> None:
        """Take the present parameters as the centre of the prior; at first it is the start, no change."""
        for name, parameter in list(self.named_parameters()):
            self.register_buffer(_center_name(name), parameter.detach().clone())

    def start_at(self, center: TasteVector) -> None:
        """Take a taste vector's scores as the start and as the centre of the prior.

        Raises:
            InvalidInput: this module is too small to score like it.
        """
        raise NotImplementedError

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
        self.count_from_here()

    def delta(self, taste_BR: Tensor) -> Tensor:
        return cast(Tensor, self.weight(taste_BR) * self.prior_sd_A)

    def start_at(self, center: TasteVector) -> None:
        self.load(center)
        self.count_from_here()

    def load(self, adapter: TasteVector) -> None:
        super().load(adapter)
        _fill(self.weight.weight, _ratio(adapter.weight_RA, self.prior_sd_A).T)

    def to_adapter(self, base_digest: str) -> TasteVector:
        weight_RA = _array(self.weight.weight).T * _array(self.prior_sd_A)
        return TasteVector(base_digest, *self._alpha_beta(), weight_RA.astype(np.float32))


class BottleneckModule(AdapterModule):
    """`tanh(taste @ down + bias) @ up`, which starts at no change, yet with gradients that point everywhere.

    Hidden units come in pairs that see one random direction and speak with opposite sign: their sum is zero, but
    turning the two apart makes the delta any linear function of taste, at about the scale of the taste prior. With
    the usual start, `up` at zero, only the random directions themselves can be learned at first; on OASIS that lost
    two thirds of the gain. Each pair speaks for one aspect at first, so that aspects are not tied at random.

    The directions are the same for every user and seed, so that any later increment can count the penalty from them.
    """

    up_sd_A: Tensor

    def __init__(self, base: BaseScorer, rank: int) -> None:
        super().__init__(base)
        # A hidden unit sees about the taste signal over the noise of one rating: tanh stays near its linear part.
        # The floor is for a base model that knows of no differences between people: a unit must not be zero.
        self.down_sd = max(float(np.mean(base.prior_sd_A / base.noise_sd_A)), _SMALLEST_UNIT)
        self.down = cast(nn.Linear, skip_init(nn.Linear, base.taste_dim, rank))
        self.up = cast(nn.Linear, skip_init(nn.Linear, rank, self.num_aspects, bias=False))
        self.register_buffer("up_sd_A", _tensor(base.noise_sd_A) * (_UP_SHARE / rank**0.5))
        with torch.no_grad():
            self.down.bias.zero_()
            self.down.weight.copy_(self._start_directions(base.taste_dim, rank))
            self.up.weight.copy_(self._start_voices(rank))
        self.count_from_here()

    @staticmethod
    def _start_directions(taste_dim: int, rank: int) -> Tensor:
        generator = torch.Generator().manual_seed(_DIRECTIONS_SEED)
        pair_PR = _DIRECTION_SD * torch.randn((rank + 1) // 2, taste_dim, generator=generator)
        return pair_PR.repeat_interleave(2, dim=0)[:rank]

    def _start_voices(self, rank: int) -> Tensor:
        up_AH = torch.zeros(self.num_aspects, rank)
        num_pairs = rank // 2  # an odd unit stays silent at first
        for pair in range(num_pairs):
            aspect = pair % self.num_aspects
            num_units = 2 * len(range(aspect, num_pairs, self.num_aspects))
            voice = (rank / num_units) ** 0.5 / _UP_SHARE
            up_AH[aspect, 2 * pair], up_AH[aspect, 2 * pair + 1] = voice, -voice
        return up_AH

    def delta(self, taste_BR: Tensor) -> Tensor:
        hidden_BH = torch.tanh(self.down(taste_BR * self.down_sd))
        return cast(Tensor, self.up(hidden_BH) * self.up_sd_A)

    def start_at(self, center: TasteVector) -> None:
        """Turn the units of each pair apart until what they say together is nearly the centre's linear function.

        Each pair of an aspect takes an equal part. What tanh takes of it because of the random directions is made up
        for on average. Where tanh would bend much (tastes that differ by far more than ratings err), the directions
        are made smaller and the voices louder. On OASIS the delta is then within 4 % of the centre's, root mean
        square (`tests/paaplus/strategies/test_centers.py`, docs/decisions/0018-matching.md).
        """
        num_pairs, taste_dim = len(self.down.weight) // 2, self.down.weight.shape[1]
        if num_pairs < self.num_aspects:
            raise InvalidInput(
                f"a bottleneck of rank {len(self.down.weight)} cannot start at somebody's taste of "
                f"{self.num_aspects} aspects: {2 * self.num_aspects} at least"
            )
        super().load(center)
        weight_RA = center.weight_RA.astype(np.float64)
        with torch.no_grad():
            self.down.weight *= min(1.0, 1.0 / self.down_sd)
            bend = (_DIRECTION_SD * min(self.down_sd, 1.0)) ** 2
            for aspect in range(self.num_aspects):
                pairs = range(aspect, num_pairs, self.num_aspects)
                voice = float(self.up.weight[aspect, 2 * aspect] * self.up_sd_A[aspect])
                part_R = weight_RA[:, aspect] * (1.0 + bend) / (2.0 * voice * len(pairs))
                louder = max(1.0, float(np.linalg.norm(part_R)) / taste_dim**0.5 / _DIRECTION_SD)
                apart_R = torch.from_numpy(part_R / louder / self.down_sd).float()
                self.up.weight[aspect] *= louder
                for pair in pairs:
                    self.down.weight[2 * pair] += apart_R
                    self.down.weight[2 * pair + 1] -= apart_R
        self.count_from_here()

    def load(self, adapter: Bottleneck) -> None:
        super().load(adapter)
        if not (adapter.down_RH.any() or adapter.up_HA.any()):
            # the all-zero adapter is a saddle that gradients cannot leave: start as a new one without a centre does
            rank, taste_dim = self.down.weight.shape
            _fill(self.down.weight, self._start_directions(taste_dim, rank).numpy())
            _fill(self.up.weight, self._start_voices(rank).numpy())
            return
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


def build_module(
    kind: str, base: BaseScorer, rank: int, parent: Adapter | None, center: TasteVector | None = None
) -> AdapterModule:
    """A module of an adapter kind, at the parent's parameters, at the centre of its prior, or at zero change.

    Args:
        kind: `taste_vector` or `bottleneck`.
        base: whose taste space and priors it stands on.
        rank: hidden units of a new bottleneck; a parent keeps its own.
        parent: of the same kind, or None.
        center: whose taste the prior is around; None: no change.
    """
    if kind == TasteVector.kind:
        module: AdapterModule = TasteVectorModule(base)
    else:
        module = BottleneckModule(base, parent.up_HA.shape[0] if isinstance(parent, Bottleneck) else rank)
    if center is not None:
        module.start_at(center)
    if parent is not None:
        module.load(parent)
    return module


def rows(generic_NA: np.ndarray, taste_NR: np.ndarray) -> Tensor:
    """Generic scores and taste as a module reads them, shape (N, A + R), float32."""
    return torch.from_numpy(np.concatenate([generic_NA, taste_NR], axis=1).astype(np.float32))


def _center_name(parameter: str) -> str:
    return "center_" + parameter.replace(".", "_")


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
