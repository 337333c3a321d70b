"""Not a script: a network shaped like the published code, for timing; same weights and scores as `PhysiqueFrame`.

It samples farthest points at every stage, finds neighbours in a dense float32 matrix, sends every pair of points
through 1x1 convolutions, computes attention step by step, scales the map up to the heat maps, and caches nothing
between images.

Shape letters: B = images, V, S, K = points, anchors, neighbours, C = channels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from paaplus.models.physiqueframe.network import clip_vit, swin_v2
from paaplus.models.physiqueframe.network.frame import PhysiqueFrame
from paaplus.models.physiqueframe.network.geometry import farthest_points
from paaplus.models.physiqueframe.network.point_encoder import NormLinear, PointEncoder, ResidualBlock, Stage


def reference_shaped(network: PhysiqueFrame) -> PhysiqueFrame:
    """A network that shares the given one's parameters and computes as the published code does."""
    slow = PhysiqueFrame.__new__(PhysiqueFrame)
    nn.Module.__init__(slow)
    slow.config = network.config
    for name, module in network.named_children():
        slow.add_module(name, module)
    slow.image_encoder = eager_copy(network.image_encoder, {clip_vit.Attention: EagerAttention})
    slow.posture_encoder = eager_copy(network.posture_encoder, {swin_v2.WindowAttention: EagerWindowAttention})
    slow.posture_graph = eager_copy(network.posture_graph, {})
    slow.posture_graph.joint_features = features_on_the_enlarged_map
    slow.mesh_encoder = ConvPointEncoder(network.mesh_encoder, network.config.points.num_neighbours)
    slow.mesh_features = lambda mesh: slow.mesh_norm(slow.mesh_encoder(mesh.point_BV3))
    return slow.eval()


def eager_copy(module: nn.Module, kinds: dict[type[nn.Module], type[nn.Module]]) -> nn.Module:
    """The same module over the same parameters, with children of some kinds exchanged."""
    copy = object.__new__(kinds.get(type(module), type(module)))
    copy.__dict__.update(module.__dict__)
    copy._modules = {
        name: None if child is None else eager_copy(child, kinds) for name, child in module._modules.items()
    }
    return copy


class EagerAttention(clip_vit.Attention):
    """Attention with its weights written out."""

    def forward(self, x_BTW: Tensor) -> Tensor:
        B, T, W = x_BTW.shape
        query, key, value = self.in_proj(x_BTW).view(B, T, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        weight = ((query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)).softmax(-1)
        return self.out_proj((weight @ value).transpose(1, 2).reshape(B, T, W))


class EagerWindowAttention(swin_v2.WindowAttention):
    """The same inside windows."""

    def forward(self, x_WNC: Tensor, mask_MNN: Tensor | None) -> Tensor:
        W, N, C = x_WNC.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        qkv = functional.linear(x_WNC, self.qkv.weight, bias).view(W, N, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        weight = functional.normalize(query, dim=-1) @ functional.normalize(key, dim=-1).transpose(-2, -1)
        weight = weight * self.logit_scale.clamp(max=np.log(100.0)).exp() + self.position_bias().unsqueeze(0)
        if mask_MNN is not None:
            M = len(mask_MNN)
            weight = weight.view(W // M, M, self.num_heads, N, N) + mask_MNN[None, :, None]
            weight = weight.view(W, self.num_heads, N, N)
        return self.proj((weight.softmax(-1) @ value).transpose(1, 2).reshape(W, N, C))


def features_on_the_enlarged_map(map_BCHW: Tensor, heatmap_BJSS: Tensor, weight_BJ: Tensor) -> Tensor:
    large = functional.interpolate(map_BCHW, heatmap_BJSS.shape[-2:], mode="bilinear", align_corners=False)
    share = heatmap_BJSS / (heatmap_BJSS.sum((-2, -1), keepdim=True) + 1e-8)
    return (share.flatten(2) @ large.flatten(2).transpose(1, 2)) * weight_BJ[..., None]


class ConvPointEncoder(nn.Module):
    """PointMLP with convolutions over every pair, channels before points."""

    def __init__(self, encoder: PointEncoder, num_neighbours: int) -> None:
        super().__init__()
        self.num_neighbours = num_neighbours
        self.embedding = _conv(encoder.embedding)
        self.stages = nn.ModuleList([ConvStage(stage) for stage in encoder.stages])

    def forward(self, point_BV3: Tensor) -> Tensor:
        x_BVC = functional.relu(self.embedding(point_BV3.transpose(1, 2))).transpose(1, 2)
        for stage in self.stages:
            chosen = [farthest_points(mesh.numpy(), len(mesh) // 2)[0] for mesh in point_BV3]
            anchor_BS = torch.from_numpy(np.stack(chosen))
            anchor_BS3 = _rows(point_BV3, anchor_BS)
            squared = -2 * anchor_BS3 @ point_BV3.transpose(1, 2)
            squared = squared + (anchor_BS3**2).sum(-1)[:, :, None] + (point_BV3**2).sum(-1)[:, None]
            neighbour_BSK = squared.topk(self.num_neighbours, dim=-1, largest=False, sorted=False).indices
            x_BVC = stage(x_BVC, anchor_BS, neighbour_BSK)
            point_BV3 = anchor_BS3
        return x_BVC.max(1).values


class ConvStage(nn.Module):
    """One stage of it."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.alpha, self.beta = stage.affine_alpha, stage.affine_beta
        self.transfer = _conv(stage.transfer)
        self.before = nn.Sequential(*(ConvBlock(block) for block in stage.before))
        self.after = nn.Sequential(*(ConvBlock(block) for block in stage.after))

    def forward(self, x_BVC: Tensor, anchor_BS: Tensor, neighbour_BSK: Tensor) -> Tensor:
        B, S, K = neighbour_BSK.shape
        anchor = _rows(x_BVC, anchor_BS)[:, :, None]
        relative = _rows(x_BVC, neighbour_BSK) - anchor
        spread = relative.reshape(B, -1).std(1)[:, None, None, None]
        relative = self.alpha * (relative / (spread + 1e-5)) + self.beta
        both = torch.cat([relative, anchor.expand_as(relative)], -1)
        pairs = both.permute(0, 1, 3, 2).reshape(B * S, -1, K)
        value = self.before(functional.relu(self.transfer(pairs)))
        pooled = functional.adaptive_max_pool1d(value, 1).view(B, S, -1).transpose(1, 2)
        return self.after(pooled).transpose(1, 2)


class ConvBlock(nn.Module):
    """A residual bottleneck of it."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.net1, self.net2 = _conv(block.net1), _conv(block.net2)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.net2(functional.relu(self.net1(x))) + x)


def _conv(layer: NormLinear) -> nn.Sequential:
    dim_out, dim_in = layer.linear.weight.shape
    conv = nn.Conv1d(dim_in, dim_out, 1, bias=False)
    conv.weight = nn.Parameter(layer.linear.weight[..., None], requires_grad=False)
    return nn.Sequential(conv, layer.norm).eval()


def _rows(x_BVC: Tensor, index: Tensor) -> Tensor:
    batch = torch.arange(len(x_BVC)).view(-1, *([1] * (index.ndim - 1)))
    return x_BVC[batch, index]
