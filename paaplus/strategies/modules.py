"""The adapters of a stack of users as one torch module, for training. Served from NumPy (`scoring/adapters.py`).

A parameter counts from the centre of its user's prior, so that the prior is the optimiser's weight decay. Numbers are
padded to cache lines and places to two: then nothing rounds a user otherwise than in another stack (decision 16).

Shape letters: U = users, V = images of each, R = taste space dim and H = hidden units, both padded to a cache line,
A = aspects, X = R + A padded: what is read of an image, taste in the module's unit and then generic scores.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from paaplus.scoring.adapters import TasteVector
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import SCORE_CENTER
from paaplus.strategies.parameters import Parameters, down_sd, up_sd

FEWEST_PLACES = 2  # torch multiplies a batch of one matrix by other code than many
Factors = list[Tensor]  # what derivatives of scores are products of, image by image
Size = Callable[[Tensor], Tensor]
_PER_ASPECT = ("weight", "up")  # whose outputs are aspects, which need no padding: their inputs have it


def padded(count: int) -> int:
    """The next multiple of 16: a cache line of float32."""
    return -(-count // 16) * 16


class StackedAdapter(nn.Module):
    """`generic + offset + slope * (generic - center) + delta(taste)`, not clipped: a clipped score has no gradient."""

    # Parameters are laid out as (U, inputs, outputs), as backward products give it: no gradient is transposed.
    taste_unit = 1.0  # what taste is multiplied by before a module reads it
    names: ClassVar = {"offset": "offset.weight", "slope": "slope.weight"}  # of parameters, as learner states name them

    def __init__(self, base: BaseScorer, centers: Sequence[Parameters], num_places: int) -> None:
        """All at the centres of their priors, of every user or the one of all; places beyond the users stay empty."""
        super().__init__()
        self.base, self.num_places = base, num_places
        self.num_aspects, self.taste_dim = len(base.aspects), base.taste_dim
        self.width = padded(self.taste_dim) + padded(self.num_aspects)
        self.sizes = {name: _laid_out(centers[0][named]).shape for name, named in self.names.items()}
        for name in ("noise", "offset", "slope", "prior"):
            self.register_buffer(f"{name}_sd_A", torch.from_numpy(np.array(getattr(base, f"{name}_sd_A"), np.float32)))
        for name, value in self.stacked(centers, 1 if len(centers) == 1 else num_places).items():
            self.register_buffer(f"center_{name}", value)
            self.register_parameter(name, nn.Parameter(torch.zeros(num_places, *value.shape[1:])))

    def stacked(self, users: Sequence[Parameters | None], num_places: int) -> dict[str, Tensor]:
        """Parameters, or anything of their names and shapes, as arrays of the stack; zeros for None, empty places."""
        arrays = {}
        for name, (num_in, num_out) in self.sizes.items():
            shape = (1 if num_in == 1 else padded(num_in), num_out if name in _PER_ASPECT else padded(num_out))
            array = np.zeros((num_places, *shape), np.float32)
            for u, user in enumerate(users):
                if user is not None:
                    array[u, :num_in, :num_out] = _laid_out(user[self.names[name]])
            arrays[name] = torch.from_numpy(array)
        return arrays

    def user(self, arrays: Mapping[str, Tensor], u: int) -> Parameters:
        """One user's part of arrays of the stack, which are on the CPU."""
        found = {}
        for name, (num_in, num_out) in self.sizes.items():
            value = arrays[name][u, :num_in, :num_out].numpy()
            found[self.names[name]] = value[0] if num_in == 1 and name not in _PER_ASPECT else value.T
        return found

    @torch.no_grad()
    def load(self, users: Sequence[Parameters]) -> None:
        """Put users at these parameters."""
        for name, value in self.stacked(users, len(users)).items():
            center = self.get_buffer(f"center_{name}")
            self.get_parameter(name)[: len(users)] = value.to(center.device) - center[: len(users)]

    @torch.no_grad()
    def parameters_now(self) -> dict[str, Tensor]:
        """As arrays of the stack, on the CPU."""
        return {name: (self.get_buffer(f"center_{name}") + value).cpu() for name, value in self.named_parameters()}

    def zeros(self) -> dict[str, Tensor]:
        """Arrays of the stack."""
        return {name: torch.zeros_like(value, requires_grad=False) for name, value in self.named_parameters()}

    def forward(self, x_UVX: Tensor) -> Tensor:
        """Scores, shape (U, V, A)."""
        taste_UVR, generic_UVA = self._read(x_UVX)
        # In float64, in which a sum of float32 gradients is exact: what a comparison pulls up at one image and down at
        # the other is then nothing at all for an offset, instead of rounding that Adam would enlarge to full steps.
        offset, slope = (self.center_offset + self.offset).double(), (self.center_slope + self.slope).double()
        plain = generic_UVA + offset[..., : self.num_aspects] * self.offset_sd_A
        plain = plain + slope[..., : self.num_aspects] * self._lever(generic_UVA)
        return (plain + self.delta(taste_UVR)).float()

    @torch.no_grad()
    def derivative_sums(
        self, x_UVX: Tensor, weight_UVA: Tensor, size: Size, other_UVX: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Weighted sums over images of the `size` of derivatives of scores, or of products with those of others.

        `size` is `torch.square` or `torch.abs`: that of a product is the product of its factors' sizes.
        """
        factors = self._factors(x_UVX)
        others: Sequence[Tensor | None] = [None] * len(factors) if other_UVX is None else self._factors(other_UVX)
        pairs = zip(factors, others, strict=True)
        lever_UVA, *rest = [size(one) if other is None else one * other for one, other in pairs]
        offset, slope = torch.zeros_like(self.offset), torch.zeros_like(self.slope)
        offset[..., : self.num_aspects] = weight_UVA.sum(1, keepdim=True) * size(self.offset_sd_A)
        slope[..., : self.num_aspects] = (weight_UVA * lever_UVA).sum(1, keepdim=True)
        return {"offset": offset, "slope": slope, **self.delta_sums(weight_UVA, rest, size)}

    def _factors(self, x_UVX: Tensor) -> Factors:
        taste_UVR, generic_UVA = self._read(x_UVX)
        return [self._lever(generic_UVA), *self.delta_factors(taste_UVR)]

    def _read(self, x_UVX: Tensor) -> tuple[Tensor, Tensor]:
        first = padded(self.taste_dim)
        return x_UVX[..., :first], x_UVX[..., first : first + self.num_aspects]

    def _lever(self, generic_UVA: Tensor) -> Tensor:
        """What a slope of 1 adds to scores."""
        return (generic_UVA - SCORE_CENTER) * self.slope_sd_A

    @abstractmethod
    def delta(self, taste_UVR: Tensor) -> Tensor: ...
    @abstractmethod
    def delta_factors(self, taste_UVR: Tensor) -> Factors: ...
    @abstractmethod
    def delta_sums(self, weight_UVA: Tensor, factors: Factors, size: Size) -> dict[str, Tensor]: ...


class StackedTasteVector(StackedAdapter):
    """Linear in taste space."""

    names: ClassVar = {**StackedAdapter.names, "weight": "weight.weight"}

    def delta(self, taste_UVR: Tensor) -> Tensor:
        return torch.bmm(taste_UVR, self.center_weight + self.weight) * self.prior_sd_A

    def delta_factors(self, taste_UVR: Tensor) -> Factors:
        return [taste_UVR]

    def delta_sums(self, weight_UVA: Tensor, factors: Factors, size: Size) -> dict[str, Tensor]:
        return {"weight": torch.bmm(factors[0].mT, weight_UVA * size(self.prior_sd_A))}


class StackedBottleneck(StackedAdapter):
    """`tanh(taste @ down + bias) @ up`."""

    names: ClassVar = {**StackedAdapter.names, "down": "down.weight", "bias": "down.bias", "up": "up.weight"}

    def __init__(self, base: BaseScorer, centers: Sequence[Parameters], num_places: int) -> None:
        super().__init__(base, centers, num_places)
        self.taste_unit = down_sd(base)
        self.register_buffer("up_sd_A", torch.from_numpy(up_sd(base, len(centers[0]["down.bias"]))))

    def delta(self, taste_UVR: Tensor) -> Tensor:
        return torch.bmm(self._hidden(taste_UVR), self.center_up + self.up) * self.up_sd_A

    def delta_factors(self, taste_UVR: Tensor) -> Factors:
        hidden_UVH = self._hidden(taste_UVR)
        return [taste_UVR, hidden_UVH, 1.0 - hidden_UVH.square()]

    def delta_sums(self, weight_UVA: Tensor, factors: Factors, size: Size) -> dict[str, Tensor]:
        taste_UVR, hidden_UVH, bend_UVH = factors
        weight_UVA = weight_UVA * size(self.up_sd_A)
        through_UVH = torch.bmm(weight_UVA, size(self.center_up + self.up).mT) * bend_UVH
        down, bias = torch.bmm(taste_UVR.mT, through_UVH), through_UVH.sum(1, keepdim=True)
        return {"down": down, "bias": bias, "up": torch.bmm(hidden_UVH.mT, weight_UVA)}

    def _hidden(self, taste_UVR: Tensor) -> Tensor:
        return torch.tanh(torch.baddbmm(self.center_bias + self.bias, taste_UVR, self.center_down + self.down))


def build_module(kind: str, base: BaseScorer, centers: Sequence[Parameters], num_places: int) -> StackedAdapter:
    """The stack of an adapter kind."""
    adapter = StackedTasteVector if kind == TasteVector.kind else StackedBottleneck
    return adapter(base, centers, max(num_places, FEWEST_PLACES))


def _laid_out(value: np.ndarray) -> np.ndarray:
    """One user's array, without what fills cache lines at its ends."""
    return value[None] if value.ndim == 1 else value.T
