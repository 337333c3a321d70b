"""The adapters of a stack of users as one torch module, for training. Served from NumPy (`scoring/adapters.py`).

A parameter counts from the centre of its user's prior, so that the prior is the optimiser's weight decay. A user's
numbers begin and end at cache lines and a stack has two places at least: then no product and no loop rounds them
otherwise than in another stack (docs/decisions/0016-cohorts.md).

Shape letters: U = users, V = images of each, R = taste space dim and H = hidden units, both padded to a cache line,
A = aspects, X = R + A padded: what is read of an image, taste in the module's unit and then generic scores.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from paaplus.scoring.adapters import TasteVector
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import SCORE_CENTER
from paaplus.strategies.parameters import Parameters, down_sd, up_sd

FEWEST_PLACES = 2  # torch multiplies a batch of one matrix by other code than many
Factors = list[Tensor]  # what derivatives of scores are products of, image by image


def padded(count: int) -> int:
    """The next multiple of 16: a cache line of float32."""
    return -(-count // 16) * 16


class StackedAdapter(nn.Module):
    """`generic + offset + slope * (generic - center) + delta(taste)`, not clipped: a clipped score has no gradient."""

    taste_unit = 1.0  # what taste is multiplied by before a module reads it

    def __init__(self, base: BaseScorer, centers: Sequence[Parameters], num_places: int) -> None:
        """All at the centres of their priors, as many places as asked for.

        Args:
            base: whose taste space and units it stands on.
            centers: of every user, or the one of all.
            num_places: `FEWEST_PLACES` at least; places beyond the users stay empty.
        """
        super().__init__()
        self.base, self.num_places = base, num_places
        self.num_aspects, self.taste_dim = len(base.aspects), base.taste_dim
        self.width = padded(self.taste_dim) + padded(self.num_aspects)
        for name in ("noise", "offset", "slope"):
            self.register_buffer(f"{name}_sd_A", torch.from_numpy(np.array(getattr(base, f"{name}_sd_A"), np.float32)))
        stacked = self.stacked(centers, 1 if len(centers) == 1 else num_places)
        for name, value in stacked.items():
            self.register_buffer(f"center_{name}", value)
            self.register_parameter(name, nn.Parameter(torch.zeros(num_places, *value.shape[1:])))

    def stacked(self, users: Sequence[Parameters | None], num_places: int) -> dict[str, Tensor]:
        """Parameters, or anything of their names and shapes, as arrays of the stack; zeros for None and empty places."""
        filled = [(u, self.laid_out(each)) for u, each in enumerate(users) if each is not None]
        shapes = self.shapes()
        arrays = {name: np.zeros((num_places, *shape), np.float32) for name, shape in shapes.items()}
        for u, each in filled:
            for name, value in each.items():
                arrays[name][u][tuple(slice(size) for size in value.shape)] = value
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    @torch.no_grad()
    def load(self, users: Sequence[Parameters]) -> None:
        """Put users at these parameters."""
        for name, value in self.stacked(users, self.num_places).items():
            offset = value.to(self.noise_sd_A.device)[: len(users)] - self.get_buffer(f"center_{name}")[: len(users)]
            self.get_parameter(name)[: len(users)] = offset

    @torch.no_grad()
    def parameters_now(self) -> dict[str, Tensor]:
        """As arrays of the stack, on the CPU."""
        return {name: (self.get_buffer(f"center_{name}") + value).cpu() for name, value in self.named_parameters()}

    def forward(self, x_UVX: Tensor) -> Tensor:
        """Scores, shape (U, V, A)."""
        generic_UVA, linear = self._generic(x_UVX), self.center_linear + self.linear
        # In float64, in which a sum of float32 gradients is exact: what a comparison pulls up at one image and down at
        # the other is then nothing at all for an offset, instead of rounding that Adam would enlarge to full steps.
        offset, slope = linear.double().split(linear.shape[-1] // 2, dim=-1)
        plain = generic_UVA + offset[..., : self.num_aspects] * self.offset_sd_A
        plain = plain + slope[..., : self.num_aspects] * self._lever(generic_UVA)
        return (plain + self.delta(x_UVX[..., : padded(self.taste_dim)])).float()

    @torch.no_grad()
    def squares(self, x_UVX: Tensor, weight_UVA: Tensor, other_UVX: Tensor | None = None) -> dict[str, Tensor]:
        """Weighted sums over images of squared derivatives of scores, or of products of those of two images."""
        factors = self._factors(x_UVX)
        others = factors if other_UVX is None else self._factors(other_UVX)
        return self._sums(weight_UVA, [one * other for one, other in zip(factors, others, strict=True)], torch.square)

    @torch.no_grad()
    def sizes(self, x_UVX: Tensor, weight_UVA: Tensor) -> dict[str, Tensor]:
        """Weighted sums over images of the absolute derivatives of scores."""
        return self._sums(weight_UVA, [each.abs() for each in self._factors(x_UVX)], torch.abs)

    def _factors(self, x_UVX: Tensor) -> Factors:
        return [self._lever(self._generic(x_UVX)), *self.delta_factors(x_UVX[..., : padded(self.taste_dim)])]

    def _sums(self, weight_UVA: Tensor, factors: Factors, of: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        lever_UVA, *rest = factors
        linear = torch.zeros_like(self.linear)
        offset, slope = linear.split(linear.shape[-1] // 2, dim=-1)
        offset[..., : self.num_aspects] = weight_UVA.sum(1, keepdim=True) * of(self.offset_sd_A)
        slope[..., : self.num_aspects] = (weight_UVA * lever_UVA).sum(1, keepdim=True)
        return {"linear": linear, **self.delta_sums(weight_UVA, rest, of)}

    def _generic(self, x_UVX: Tensor) -> Tensor:
        first = padded(self.taste_dim)
        return x_UVX[..., first : first + self.num_aspects]

    def _lever(self, generic_UVA: Tensor) -> Tensor:
        """What a slope of 1 adds to scores."""
        return (generic_UVA - SCORE_CENTER) * self.slope_sd_A

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Of one user's arrays, by parameter: laid out as backward products give them, so that none is transposed."""
        return {"linear": (1, 2 * padded(self.num_aspects)), **self.delta_shapes()}

    def laid_out(self, user: Parameters) -> dict[str, np.ndarray]:
        """One user's arrays, without what fills cache lines at their ends."""
        linear = np.zeros((1, padded(self.num_aspects) + self.num_aspects), np.float32)
        linear[0, : self.num_aspects], linear[0, padded(self.num_aspects) :] = (
            user["offset.weight"],
            user["slope.weight"],
        )
        return {"linear": linear, **self.delta_laid_out(user)}

    def user(self, arrays: Mapping[str, Tensor], u: int) -> Parameters:
        """One user's part of arrays of the stack, which are on the CPU."""
        linear = arrays["linear"][u, 0].numpy()
        affine = linear[: self.num_aspects], linear[padded(self.num_aspects) :][: self.num_aspects]
        return {"offset.weight": affine[0], "slope.weight": affine[1], **self.delta_user(arrays, u)}

    @abstractmethod
    def delta(self, taste_UVR: Tensor) -> Tensor: ...
    @abstractmethod
    def delta_factors(self, taste_UVR: Tensor) -> Factors: ...
    @abstractmethod
    def delta_sums(self, weight_UVA: Tensor, factors: Factors, of: Callable[[Tensor], Tensor]) -> dict[str, Tensor]: ...
    @abstractmethod
    def delta_shapes(self) -> dict[str, tuple[int, int]]: ...
    @abstractmethod
    def delta_laid_out(self, user: Parameters) -> dict[str, np.ndarray]: ...
    @abstractmethod
    def delta_user(self, arrays: Mapping[str, Tensor], u: int) -> Parameters: ...


class StackedTasteVector(StackedAdapter):
    """Linear in taste space."""

    def __init__(self, base: BaseScorer, centers: Sequence[Parameters], num_places: int) -> None:
        super().__init__(base, centers, num_places)
        self.register_buffer("weight_sd_A", torch.from_numpy(np.array(base.prior_sd_A, np.float32)))

    def delta(self, taste_UVR: Tensor) -> Tensor:
        return torch.bmm(taste_UVR, self.center_weight + self.weight) * self.weight_sd_A

    def delta_factors(self, taste_UVR: Tensor) -> Factors:
        return [taste_UVR]

    def delta_sums(self, weight_UVA: Tensor, factors: Factors, of: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        return {"weight": torch.bmm(factors[0].mT, weight_UVA * of(self.weight_sd_A))}

    def delta_shapes(self) -> dict[str, tuple[int, int]]:
        return {"weight": (padded(self.taste_dim), self.num_aspects)}

    def delta_laid_out(self, user: Parameters) -> dict[str, np.ndarray]:
        return {"weight": user["weight.weight"].T}

    def delta_user(self, arrays: Mapping[str, Tensor], u: int) -> Parameters:
        return {"weight.weight": arrays["weight"][u, : self.taste_dim].numpy().T}


class StackedBottleneck(StackedAdapter):
    """`tanh(taste @ down + bias) @ up`."""

    def __init__(self, base: BaseScorer, centers: Sequence[Parameters], num_places: int) -> None:
        self.rank = len(centers[0]["down.bias"])
        self.taste_unit = down_sd(base)
        super().__init__(base, centers, num_places)
        self.register_buffer("up_sd_A", torch.from_numpy(up_sd(base, self.rank)))

    def delta(self, taste_UVR: Tensor) -> Tensor:
        return torch.bmm(self._hidden(taste_UVR), self.center_up + self.up) * self.up_sd_A

    def delta_factors(self, taste_UVR: Tensor) -> Factors:
        hidden_UVH = self._hidden(taste_UVR)
        return [taste_UVR, hidden_UVH, 1.0 - hidden_UVH.square()]

    def delta_sums(self, weight_UVA: Tensor, factors: Factors, of: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        taste_UVR, hidden_UVH, bend_UVH = factors
        weight_UVA = weight_UVA * of(self.up_sd_A)
        through_UVH = torch.bmm(weight_UVA, of(self.center_up + self.up).mT) * bend_UVH
        return {
            "down": torch.bmm(taste_UVR.mT, through_UVH),
            "bias": through_UVH.sum(1, keepdim=True),
            "up": torch.bmm(hidden_UVH.mT, weight_UVA),
        }

    def delta_shapes(self) -> dict[str, tuple[int, int]]:
        hidden = padded(self.rank)
        return {"down": (padded(self.taste_dim), hidden), "bias": (1, hidden), "up": (hidden, self.num_aspects)}

    def delta_laid_out(self, user: Parameters) -> dict[str, np.ndarray]:
        return {"down": user["down.weight"].T, "bias": user["down.bias"][None], "up": user["up.weight"].T}

    def delta_user(self, arrays: Mapping[str, Tensor], u: int) -> Parameters:
        down, bias, up = (arrays[name][u].numpy() for name in ("down", "bias", "up"))
        rank = self.rank
        return {"down.weight": down[: self.taste_dim, :rank].T, "down.bias": bias[0, :rank], "up.weight": up[:rank].T}

    def _hidden(self, taste_UVR: Tensor) -> Tensor:
        return torch.tanh(torch.baddbmm(self.center_bias + self.bias, taste_UVR, self.center_down + self.down))


def build_module(kind: str, base: BaseScorer, centers: Sequence[Parameters], num_places: int) -> StackedAdapter:
    """The stack of an adapter kind."""
    adapter = StackedTasteVector if kind == TasteVector.kind else StackedBottleneck
    return adapter(base, centers, max(num_places, FEWEST_PLACES))
