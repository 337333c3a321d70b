"""The adapters of many users as one module: stacked parameters, and their gradients in closed form.

All of a user's parameters lie in one row, so that penalties and optimiser steps are single passes over memory. Scores
and gradients are those of `modules.py`, user by user; writing the gradients down saves the graph and its
temporaries. Nothing of one user's row or images reaches another's.

Shape letters: U = users, V = images of each, S = parameters of one user, R = taste space dim, A = aspects,
H = bottleneck rank.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from paaplus.scoring.adapters import Adapter
from paaplus.scoring.priors import SCORE_CENTER
from paaplus.strategies.modules import AdapterModule, BottleneckModule, TasteVectorModule

# Products and elementwise loops treat the first and last numbers of an array, and those that lie across cache lines,
# by other code, which may round otherwise. A user's numbers therefore begin and end at a cache line.
ALIGNMENT = 16  # numbers of float32


class Views(dict[str, Tensor]):
    """A stack of rows by parameter name, each of shape (U, *shape), without copies."""


class Seen(NamedTuple):
    """Images as a bank reads them: taste as `Bank.seen` gives it."""

    taste_UVR: Tensor
    generic_UVA: Tensor


class Bank(nn.Module):
    """U users' adapters of one kind and size."""

    def __init__(self, template: AdapterModule, num_users: int) -> None:
        """All at zero change. `template` is a module of that kind at its start; it is used to read and write rows.

        There are two places at least: a product of one user would be done by other code than those of many.
        """
        super().__init__()
        self.template = [template]  # in a list: its parameters are not this module's
        self.shapes = {name: parameter.shape for name, parameter in template.named_parameters()}
        self.places: dict[str, int] = {}
        self.row_size = 0
        for name in sorted(self.shapes, key=lambda name: -math.prod(self.shapes[name])):
            self.places[name] = self.row_size
            self.row_size += math.prod(self.shapes[name])
        self.row_size = -(-self.row_size // ALIGNMENT) * ALIGNMENT
        self.zero_S = self.row_at(template)
        self.rows_US = nn.Parameter(self.zero_S.repeat(max(num_users, 2), 1))
        self.gradient_US = torch.zeros_like(self.rows_US, requires_grad=False)
        self.at = self.views(self.rows_US.detach())
        self.gradient_at = self.views(self.gradient_US)

    @property
    def num_users(self) -> int:
        return len(self.rows_US)

    def views(self, rows_US: Tensor) -> Views:
        return Views(
            {
                name: rows_US[:, place : place + math.prod(self.shapes[name])].unflatten(1, self.shapes[name])
                for name, place in self.places.items()
            }
        )

    @torch.no_grad()
    def row_at(self, module: AdapterModule) -> Tensor:
        """The parameters of a module of this kind and size as a row."""
        row_S = torch.zeros(self.row_size, device=self.template[0].offset_sd_A.device)
        for name, parameter in module.named_parameters():
            place = self.places[name]
            row_S[place : place + parameter.numel()] = parameter.flatten()
        return row_S

    @torch.no_grad()
    def row_of(self, parent: Adapter) -> Tensor:
        """One user's parameters at the parent's."""
        self._fill_template(self.zero_S)  # an adapter that changes nothing leaves the start as it is
        self.template[0].load(parent)
        return self.row_at(self.template[0])

    @torch.no_grad()
    def adapter(self, user: int, base_digest: str) -> Adapter:
        """One user's parameters as served."""
        self._fill_template(self.rows_US[user])
        return self.template[0].to_adapter(base_digest)

    def _fill_template(self, row_S: Tensor) -> None:
        for name, view in self.views(row_S[None]).items():
            self.template[0].get_parameter(name).copy_(view[0])

    def lever(self, generic: Tensor) -> Tensor:
        """What a slope of 1 adds to scores."""
        return (generic - SCORE_CENTER) * self.template[0].slope_sd_A

    def forward(self, taste_UVR: Tensor, generic_UVA: Tensor, lever_UVA: Tensor) -> Tensor:
        """Scores, shape (U, V, A), not clipped. Taste is as `seen` gives it, levers as `lever` does."""
        offset_UA = self.at["offset.weight"] * self.template[0].offset_sd_A
        plain_UVA = torch.addcmul(generic_UVA, lever_UVA, self.at["slope.weight"][:, None])
        return self.add_delta(plain_UVA.add_(offset_UA[:, None]), taste_UVR)

    def add_gradient(self, into: Views, slope_UVA: Tensor, taste_UVR: Tensor, lever_UVA: Tensor) -> None:
        """Add the gradient of a loss to `into`, given its slope by the scores that `forward` gave last."""
        template = self.template[0]
        # In float64, as in `modules.Elementwise`: the two images of a comparison cancel out.
        into["offset.weight"].add_(slope_UVA.sum(1, dtype=torch.float64) * template.offset_sd_A)
        into["slope.weight"].add_((slope_UVA * lever_UVA).sum(1))
        self.add_delta_gradient(into, slope_UVA, taste_UVR)

    @torch.no_grad()
    def curvature(self, weight_UVA: Tensor, first: Seen, second: Seen | None = None) -> Tensor:
        """Weighted sums over images of squared derivatives of scores by parameters, or of products of two images'.

        Without `second`, the squares. Shape (U, S).
        """
        one = self._factors(first)
        other = one if second is None else self._factors(second)
        return self._sum(weight_UVA, [a * b for a, b in zip(one, other, strict=True)], torch.square)

    @torch.no_grad()
    def sensitivity(self, weight_UVA: Tensor, images: Seen) -> Tensor:
        """Weighted sums over images of the sizes of derivatives of scores by parameters, shape (U, S)."""
        return self._sum(weight_UVA, [each.abs() for each in self._factors(images)], torch.abs)

    def _factors(self, images: Seen) -> list[Tensor]:
        """What derivatives of scores are products of, image by image: the lever first."""
        return [self.lever(images.generic_UVA), *self.delta_factors(images.taste_UVR)]

    def _sum(self, weight_UVA: Tensor, factors: list[Tensor], of: Callable[[Tensor], Tensor]) -> Tensor:
        """Weighted sums of derivatives, whose factors are given as they are to be summed; `of` makes others so."""
        lever_UVA, *delta_factors = factors
        total_US = torch.zeros_like(self.gradient_US)
        total = self.views(total_US)
        total["offset.weight"].copy_(weight_UVA.sum(1) * of(self.template[0].offset_sd_A))
        total["slope.weight"].copy_((weight_UVA * lever_UVA).sum(1))
        self.fill_delta_sum(total, weight_UVA, delta_factors, of)
        return total_US

    @abstractmethod
    def seen(self, taste: Tensor) -> Tensor:
        """Taste in the units that the parameters are about."""

    @abstractmethod
    def add_delta(self, plain_UVA: Tensor, taste_UVR: Tensor) -> Tensor: ...

    @abstractmethod
    def add_delta_gradient(self, into: Views, slope_UVA: Tensor, taste_UVR: Tensor) -> None: ...

    @abstractmethod
    def delta_factors(self, taste_UVR: Tensor) -> list[Tensor]: ...

    @abstractmethod
    def fill_delta_sum(
        self, into: Views, weight_UVA: Tensor, factors: list[Tensor], of: Callable[[Tensor], Tensor]
    ) -> None: ...


class TasteVectorBank(Bank):
    """Linear in taste space."""

    def seen(self, taste: Tensor) -> Tensor:
        return taste

    def add_delta(self, plain_UVA: Tensor, taste_UVR: Tensor) -> Tensor:
        weight_UAR = self.at["weight.weight"]
        return plain_UVA.addcmul_(torch.bmm(taste_UVR, weight_UAR.mT), self._sd_A)

    def add_delta_gradient(self, into: Views, slope_UVA: Tensor, taste_UVR: Tensor) -> None:
        into["weight.weight"].baddbmm_((slope_UVA * self._sd_A).mT, taste_UVR)

    def delta_factors(self, taste_UVR: Tensor) -> list[Tensor]:
        return [taste_UVR]

    def fill_delta_sum(
        self, into: Views, weight_UVA: Tensor, factors: list[Tensor], of: Callable[[Tensor], Tensor]
    ) -> None:
        into["weight.weight"].baddbmm_((weight_UVA * of(self._sd_A)).mT, factors[0])

    @property
    def _sd_A(self) -> Tensor:
        return self.template[0].get_buffer("prior_sd_A")


class BottleneckBank(Bank):
    """`tanh(taste @ down + bias) @ up`."""

    hidden_UVH: Tensor  # of the last forward

    def seen(self, taste: Tensor) -> Tensor:
        template = self.template[0]
        assert isinstance(template, BottleneckModule)
        return taste * template.down_sd

    def add_delta(self, plain_UVA: Tensor, taste_UVR: Tensor) -> Tensor:
        self.hidden_UVH = self._hidden(taste_UVR)
        return plain_UVA.addcmul_(torch.bmm(self.hidden_UVH, self.at["up.weight"].mT), self._up_sd_A)

    def add_delta_gradient(self, into: Views, slope_UVA: Tensor, taste_UVR: Tensor) -> None:
        hidden_UVH, slope_UVA = self.hidden_UVH, slope_UVA * self._up_sd_A
        into["up.weight"].baddbmm_(slope_UVA.mT, hidden_UVH)
        slope_UVH = torch.bmm(slope_UVA, self.at["up.weight"])
        slope_UVH.addcmul_(slope_UVH, hidden_UVH.square_(), value=-1.0)  # through tanh; the hidden values are spent
        into["down.weight"].baddbmm_(slope_UVH.mT, taste_UVR)
        into["down.bias"].add_(slope_UVH.sum(1))

    def delta_factors(self, taste_UVR: Tensor) -> list[Tensor]:
        hidden_UVH = self._hidden(taste_UVR)
        return [taste_UVR, hidden_UVH, 1.0 - hidden_UVH.square()]

    def fill_delta_sum(
        self, into: Views, weight_UVA: Tensor, factors: list[Tensor], of: Callable[[Tensor], Tensor]
    ) -> None:
        taste_UVR, hidden_UVH, bend_UVH = factors
        weight_UVA = weight_UVA * of(self._up_sd_A)
        into["up.weight"].baddbmm_(weight_UVA.mT, hidden_UVH)
        voice_UAH = self.views(of(self.rows_US.detach()))["up.weight"]
        slope_UVH = torch.bmm(weight_UVA, voice_UAH).mul_(bend_UVH)
        into["down.weight"].baddbmm_(slope_UVH.mT, taste_UVR)
        into["down.bias"].copy_(slope_UVH.sum(1))

    def _hidden(self, taste_UVR: Tensor) -> Tensor:
        return torch.baddbmm(self.at["down.bias"][:, None], taste_UVR, self.at["down.weight"].mT).tanh_()

    @property
    def _up_sd_A(self) -> Tensor:
        return self.template[0].get_buffer("up_sd_A")


def build_bank(template: AdapterModule, num_users: int) -> Bank:
    """The bank for modules like this one."""
    kind = TasteVectorBank if isinstance(template, TasteVectorModule) else BottleneckBank
    return kind(template, num_users)
