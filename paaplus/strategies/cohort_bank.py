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

import torch
from torch import Tensor, nn

from paaplus.scoring.adapters import Adapter
from paaplus.scoring.priors import SCORE_CENTER
from paaplus.strategies.modules import AdapterModule, BottleneckModule, TasteVectorModule

_ALIGNMENT = 16  # numbers: rows of users begin at cache lines, so that products meet the same code wherever they lie


class Views(dict[str, Tensor]):
    """A stack of rows by parameter name, each of shape (U, *shape), without copies."""


class Bank(nn.Module):
    """U users' adapters of one kind and size."""

    def __init__(self, template: AdapterModule, num_users: int) -> None:
        """All at zero change. `template` is a module of that kind at its start; it is used to read and write rows."""
        super().__init__()
        device = template.offset_sd_A.device
        self.template = [template]  # in a list: its parameters are not this module's
        self.shapes = {name: parameter.shape for name, parameter in template.named_parameters()}
        self.places: dict[str, int] = {}
        size = 0
        for name in sorted(self.shapes, key=lambda name: -math.prod(self.shapes[name])):
            self.places[name] = size
            size += math.prod(self.shapes[name])
        size = -(-size // _ALIGNMENT) * _ALIGNMENT
        self.zero_S = torch.zeros(size, device=device)
        self.write(self.zero_S)
        self.rows_US = nn.Parameter(self.zero_S.repeat(num_users, 1))
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
    def write(self, row_S: Tensor) -> None:
        """Into a row, the parameters of the template."""
        for name, parameter in self.template[0].named_parameters():
            place = self.places[name]
            row_S[place : place + parameter.numel()] = parameter.flatten()

    @torch.no_grad()
    def row_of(self, parent: Adapter | None) -> Tensor:
        """One user's parameters, at the parent's or at zero change."""
        if parent is None:
            return self.zero_S
        self._fill_template(self.zero_S)  # an adapter that changes nothing leaves the start as it is
        self.template[0].load(parent)
        row_S = torch.zeros_like(self.zero_S)
        self.write(row_S)
        return row_S

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
    def curvature(
        self, weight_UVA: Tensor, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Weighted sums over images of squared derivatives of scores by parameters, or of products of two images'.

        `first` and `second` are images, `(taste_UVR, generic_UVA)`; without `second`, the squares. Shape (U, S).
        """
        template, total_US = self.template[0], torch.zeros_like(self.gradient_US)
        total = self.views(total_US)
        lever_UVA = self.lever(first[1])
        other_UVA = lever_UVA if second is None else self.lever(second[1])
        total["offset.weight"].copy_(weight_UVA.sum(1) * template.offset_sd_A.square())
        total["slope.weight"].copy_((weight_UVA * lever_UVA * other_UVA).sum(1))
        self.fill_delta_curvature(total, weight_UVA, first[0], first[0] if second is None else second[0])
        return total_US

    @abstractmethod
    def seen(self, taste: Tensor) -> Tensor:
        """Taste in the units that the parameters are about."""

    @abstractmethod
    def add_delta(self, plain_UVA: Tensor, taste_UVR: Tensor) -> Tensor: ...

    @abstractmethod
    def add_delta_gradient(self, into: Views, slope_UVA: Tensor, taste_UVR: Tensor) -> None: ...

    @abstractmethod
    def fill_delta_curvature(self, into: Views, weight_UVA: Tensor, first_UVR: Tensor, second_UVR: Tensor) -> None: ...


class TasteVectorBank(Bank):
    """Linear in taste space."""

    def seen(self, taste: Tensor) -> Tensor:
        return taste

    def add_delta(self, plain_UVA: Tensor, taste_UVR: Tensor) -> Tensor:
        weight_UAR = self.at["weight.weight"]
        return plain_UVA.addcmul_(torch.bmm(taste_UVR, weight_UAR.mT), self._sd_A)

    def add_delta_gradient(self, into: Views, slope_UVA: Tensor, taste_UVR: Tensor) -> None:
        into["weight.weight"].baddbmm_((slope_UVA * self._sd_A).mT, taste_UVR)

    def fill_delta_curvature(self, into: Views, weight_UVA: Tensor, first_UVR: Tensor, second_UVR: Tensor) -> None:
        into["weight.weight"].copy_(torch.bmm((weight_UVA * self._sd_A.square()).mT, first_UVR * second_UVR))

    @property
    def _sd_A(self) -> Tensor:
        return self.template[0].get_buffer("prior_sd_A")


class BottleneckBank(Bank):
    """`tanh(taste @ down + bias) @ up`."""

    hidden_UVH: Tensor  # of the last forward
    voice_UAH: Tensor

    def seen(self, taste: Tensor) -> Tensor:
        template = self.template[0]
        assert isinstance(template, BottleneckModule)
        return taste * template.down_sd

    def add_delta(self, plain_UVA: Tensor, taste_UVR: Tensor) -> Tensor:
        self.voice_UAH = self.at["up.weight"] * self._up_sd_A1
        self.hidden_UVH = self._hidden(taste_UVR)
        return plain_UVA.baddbmm_(self.hidden_UVH, self.voice_UAH.mT)

    def add_delta_gradient(self, into: Views, slope_UVA: Tensor, taste_UVR: Tensor) -> None:
        hidden_UVH = self.hidden_UVH
        into["up.weight"].addcmul_(torch.bmm(slope_UVA.mT, hidden_UVH), self._up_sd_A1)
        slope_UVH = torch.bmm(slope_UVA, self.voice_UAH)
        slope_UVH.addcmul_(slope_UVH, hidden_UVH.square_(), value=-1.0)  # through tanh; the hidden values are spent
        into["down.weight"].baddbmm_(slope_UVH.mT, taste_UVR)
        into["down.bias"].add_(slope_UVH.sum(1))

    def fill_delta_curvature(self, into: Views, weight_UVA: Tensor, first_UVR: Tensor, second_UVR: Tensor) -> None:
        first_UVH = self._hidden(first_UVR)
        second_UVH = first_UVH if second_UVR is first_UVR else self._hidden(second_UVR)
        voice_UAH = self.at["up.weight"] * self._up_sd_A1
        into["up.weight"].copy_(torch.bmm(weight_UVA.mT, first_UVH * second_UVH) * self._up_sd_A1.square())
        slope_UVH = torch.bmm(weight_UVA, voice_UAH.square())
        slope_UVH *= (1.0 - first_UVH.square()) * (1.0 - second_UVH.square())
        into["down.weight"].copy_(torch.bmm(slope_UVH.mT, first_UVR * second_UVR))
        into["down.bias"].copy_(slope_UVH.sum(1))

    def _hidden(self, taste_UVR: Tensor) -> Tensor:
        return torch.baddbmm(self.at["down.bias"][:, None], taste_UVR, self.at["down.weight"].mT).tanh_()

    @property
    def _up_sd_A1(self) -> Tensor:
        return self.template[0].get_buffer("up_sd_A")[:, None]


def build_bank(template: AdapterModule, num_users: int) -> Bank:
    """The bank for modules like this one."""
    kind = TasteVectorBank if isinstance(template, TasteVectorModule) else BottleneckBank
    return kind(template, num_users)
