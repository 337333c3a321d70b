"""PointMLP: one feature vector of a body mesh, which is given as points.

Shape letters: B = meshes, V = points of a stage, S = its anchors, K = neighbours of an anchor, C = channels,
R = channels after the stage. Source: Ma et al. 2022, "PointMLP", elite layout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from paaplus.models.physiqueframe.network.config import PointConfig
from paaplus.models.physiqueframe.network.geometry import Grouping

_EPS_SPREAD = 1e-5
_CHUNK_VALUES = 400_000  # about 1.6 MB


class NormLinear(nn.Module):
    """A linear map without bias, and batch normalisation over all points; folded into one map without gradients."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim_in, dim_out, bias=False)
        self.norm = nn.BatchNorm1d(dim_out)

    def forward(self, x: Tensor) -> Tensor:
        if self.training or torch.is_grad_enabled():
            return self.normalise(self.linear(x))
        scale, shift = self.folded()
        return functional.linear(x, self.linear.weight * scale[:, None], shift)

    def normalise(self, x: Tensor) -> Tensor:
        # Channels come before points: in this layout torch sums in float64 on a CPU, in the other in float32, and
        # a stage has 250,000 rows.
        return self.norm(x.flatten(0, -2).T.unsqueeze(0).contiguous())[0].T.view(x.shape)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of the normalisation with its running statistics, shape (R,) each."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        return scale, norm.bias - norm.running_mean * scale


class ResidualBlock(nn.Module):
    """A residual bottleneck."""

    def __init__(self, dim: int, bottleneck: float) -> None:
        super().__init__()
        self.net1 = NormLinear(dim, int(dim * bottleneck))
        self.net2 = NormLinear(int(dim * bottleneck), dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.net2(self.net1(x).relu_()).add_(x).relu_()


class Stage(nn.Module):
    """Pools the neighbours of each anchor, relative to the anchor: half as many points, more channels."""

    def __init__(self, dim: int, expansion: int, num_blocks: int, bottleneck: float) -> None:
        super().__init__()
        dim_out = dim * expansion
        self.affine_alpha = nn.Parameter(torch.ones(dim))
        self.affine_beta = nn.Parameter(torch.zeros(dim))
        self.transfer = NormLinear(2 * dim, dim_out)
        self.before = nn.Sequential(*(ResidualBlock(dim_out, bottleneck) for _ in range(num_blocks)))
        self.after = nn.Sequential(*(ResidualBlock(dim_out, bottleneck) for _ in range(num_blocks)))

    def forward(self, x_BVC: Tensor, anchor_BS: Tensor, neighbour_BSK: Tensor) -> Tensor:
        """Features of the anchors, shape (B, S, R)."""
        anchor_BSC = _take(x_BVC, anchor_BS)
        offset_BSKC = _take(x_BVC, neighbour_BSK) - anchor_BSC[:, :, None]
        spread_B11 = offset_BSKC.flatten(1).std(1)[:, None, None] + _EPS_SPREAD
        if self.training or torch.is_grad_enabled():
            relative_BSKC = self.affine_alpha * (offset_BSKC / spread_B11[..., None]) + self.affine_beta
            both = torch.cat([relative_BSKC, anchor_BSC[:, :, None].expand_as(relative_BSKC)], -1)
            pooled_BSR = self.before(self.transfer(both).relu_()).amax(2)
        else:
            # Relative to the mean, because far from the origin float32 loses small differences of large numbers.
            scaled_BVC = (x_BVC - x_BVC.mean(1, keepdim=True)) / spread_B11
            pooled_BSR = self._pooled(scaled_BVC, anchor_BSC, anchor_BS, neighbour_BSK)
        return self.after(pooled_BSR)

    def _pooled(self, scaled_BVC: Tensor, anchor_BSC: Tensor, anchor_BS: Tensor, neighbour_BSK: Tensor) -> Tensor:
        """The pooled values without gradients, several times as fast.

        The first map is linear, so it is applied once to the V points instead of to all S * K pairs: the value of a
        pair is the sum of a row for the neighbour and a row for the anchor. (A gradient of this sum would be less
        exact.) Anchors are processed in chunks that fit the processor's cache.
        """
        scale_R, shift_R = self.transfer.folded()
        weight_RC, anchor_weight_RC = (self.transfer.linear.weight * scale_R[:, None]).chunk(2, 1)
        point_BVR = functional.linear(scaled_BVC * self.affine_alpha, weight_RC)
        constant_BSR = functional.linear(anchor_BSC, anchor_weight_RC, shift_R) + functional.linear(
            self.affine_beta, weight_RC
        )
        constant_BSR -= _take(point_BVR, anchor_BS)
        chunk = max(1, _CHUNK_VALUES // (neighbour_BSK[:, 0].numel() * point_BVR.shape[-1]))
        parts = zip(neighbour_BSK.split(chunk, 1), constant_BSR.split(chunk, 1), strict=True)
        pooled = [
            self.before(_take(point_BVR, neighbour).add_(constant[:, :, None]).relu_()).amax(2)
            for neighbour, constant in parts
        ]
        return torch.cat(pooled, 1)


class PointEncoder(nn.Module):
    """Features (B, C) of points (B, V, 3) with their grouping."""

    def __init__(self, config: PointConfig) -> None:
        super().__init__()
        self.num_stages = len(config.expansions)
        self.embedding = NormLinear(3, config.width)
        self.stages = nn.ModuleList()
        dim = config.width
        for expansion, num_blocks in zip(config.expansions, config.blocks, strict=True):
            self.stages.append(Stage(dim, expansion, num_blocks, config.bottleneck))
            dim *= expansion

    def forward(self, point_BV3: Tensor, grouping: Grouping) -> Tensor:
        # Not folded: some metres from the camera, another rounding of the coordinates changes scores most.
        x = functional.relu(self.embedding.normalise(self.embedding.linear(point_BV3)))
        for stage, (anchor_BS, neighbour_BSK) in zip(self.stages, grouping, strict=True):
            x = stage(x, anchor_BS, neighbour_BSK)
        return x.amax(1)


def _take(x_BVC: Tensor, index: Tensor) -> Tensor:
    """Rows of each batch entry: index (B, ...) gives (B, ..., C)."""
    B, V, C = x_BVC.shape
    start_B = torch.arange(B, device=index.device).view(B, *([1] * (index.ndim - 1))) * V
    return x_BVC.reshape(B * V, C).index_select(0, (index + start_B).flatten()).view(*index.shape, C)
