"""A graph transformer over joints, their positions and the image features there (Pose-Anything, CapeFormer).

Shape letters: B = images, J = joints, H, W = cells of the feature map, T = H * W, D = width of the graph, C = channels
of the map, L = decoder layers. Points are (x, y) in 0-1 of the image.
Source: Hirschorn and Avidan 2023, "Pose Anything"; Shi et al. 2023, "CapeFormer".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from paaplus.models.physiqueframe.network.config import GraphConfig

_EPS_LOGIT = 1e-3


@dataclass(frozen=True)
class GraphOutput:
    """The joints' states after every layer, from which scores are computed, and their positions."""

    state_LBJD: Tensor
    points: tuple[Tensor, ...]  # each (B, J, 2): the proposals, then the positions after every layer


def bilinear_matrix(num_out: int, num_in: int) -> np.ndarray:
    """Weights of bilinear up-sampling along one axis (corners not aligned), shape (num_out, num_in), float32."""
    position = np.clip((np.arange(num_out) + 0.5) * num_in / num_out - 0.5, 0, num_in - 1)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(num_in))).astype(np.float32)


def sine_encoding(position: Tensor, dim: int) -> Tensor:
    """Sine and cosine, in turns, of positions (any shape, radians): shape (..., dim)."""
    index = torch.arange(dim, device=position.device)
    angle = position.unsqueeze(-1) / 10000 ** (2 * (index // 2) / dim)
    return torch.where(index % 2 == 0, angle.sin(), angle.cos())


def encode_points(point_BJ2: Tensor, dim: int) -> Tensor:
    """Encoding of points, y first: shape (B, J, dim)."""
    return sine_encoding(point_BJ2.flip(-1) * 2 * math.pi, dim // 2).flatten(-2)


def encode_grid(height: int, width: int, dim: int, device: torch.device) -> Tensor:
    """Encoding of a map's cells, numbered from 1 and divided by their count, y first: shape (T, dim)."""
    y_H = torch.arange(1, height + 1, device=device) / (height + 1e-6) * 2 * math.pi
    x_W = torch.arange(1, width + 1, device=device) / (width + 1e-6) * 2 * math.pi
    y_HWD = sine_encoding(y_H, dim // 2)[:, None].expand(-1, width, -1)
    x_HWD = sine_encoding(x_W, dim // 2)[None].expand(height, -1, -1)
    return torch.cat([y_HWD, x_HWD], -1).flatten(0, 1)


def hidden_joints(weight_BJ: Tensor) -> Tensor:
    """Joints that attention masks, bool, shape (B, J): those of weight 0, but never all joints of an image."""
    hidden_BJ = weight_BJ == 0
    first_J = torch.arange(hidden_BJ.shape[1], device=weight_BJ.device) == 0
    return hidden_BJ & ~(hidden_BJ.all(-1, keepdim=True) & first_J)


def normalised_adjacency(adjacency_BJJ: Tensor, hidden_BJ: Tensor) -> Tensor:
    """The two kernels of the graph convolution, shape (B, 2, J, J): each visible joint itself, and its neighbours.

    Each row is divided by its number of neighbours, and joints are mixed along columns, so the contribution of a
    neighbour is divided by that neighbour's degree. This is not an average, but the weights were trained with it.
    """
    visible_BJ = (~hidden_BJ).to(adjacency_BJJ.dtype)
    edges_BJJ = adjacency_BJJ * visible_BJ[:, :, None] * visible_BJ[:, None, :]
    degree_BJ1 = edges_BJJ.sum(-1, keepdim=True)
    return torch.stack([torch.diag_embed(visible_BJ), edges_BJJ / degree_BJ1.clamp(min=1)], 1)


class ProposalGenerator(nn.Module):
    """A first position for every joint: the best cell of the map and its neighbours, averaged by similarity."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.support_proj = nn.Linear(dim, dim)
        self.query_proj = nn.Linear(dim, dim)
        self.dynamic_proj = nn.Sequential(nn.Linear(dim, dim // 2), nn.ReLU(), nn.Linear(dim // 2, dim))

    def similarity(self, memory_BTD: Tensor, token_BJD: Tensor) -> Tensor:
        """Similarity of each cell to each joint, softmax over cells: shape (B, J, T)."""
        support_BJD = self.support_proj(token_BJD)
        support_BJD = (torch.tanh(self.dynamic_proj(support_BJD)) + 1) * support_BJD
        return (support_BJD @ self.query_proj(memory_BTD).transpose(1, 2)).softmax(-1)

    def forward(self, memory_BTD: Tensor, token_BJD: Tensor, height: int, width: int) -> Tensor:
        """Proposals, shape (B, J, 2)."""
        similarity_BJT = self.similarity(memory_BTD, token_BJD)
        best_BJ = similarity_BJT.argmax(-1)
        cell_T = torch.arange(height * width, device=memory_BTD.device)
        row_T, column_T = cell_T // width, cell_T % width
        near_BJT = ((row_T - (best_BJ // width)[..., None]).abs() <= 1) & (
            (column_T - (best_BJ % width)[..., None]).abs() <= 1
        )
        weight_BJT = similarity_BJT * near_BJT
        weight_BJT = weight_BJT / (weight_BJT.sum(-1, keepdim=True) + 1e-10)
        centre_T2 = torch.stack([(column_T + 0.5) / width, (row_T + 0.5) / height], -1)
        return weight_BJT @ centre_T2


class DecoderLayer(nn.Module):
    """Attention among joints, attention to the image, and a convolution along the bones."""

    def __init__(self, config: GraphConfig) -> None:
        super().__init__()
        dim, heads, rate = config.dim, config.num_heads, config.dropout
        self.self_attn = nn.MultiheadAttention(dim, heads, dropout=rate, batch_first=True)
        # Queries and keys are content and position concatenated, hence twice the width.
        self.multihead_attn = nn.MultiheadAttention(2 * dim, heads, dropout=rate, vdim=dim, batch_first=True)
        self.choker = nn.Linear(2 * dim, dim)
        self.ffn1 = nn.Linear(dim, 2 * config.hidden_dim)
        self.ffn2 = nn.Linear(config.hidden_dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(rate)

    def forward(
        self, joint_BJD: Tensor, place_BJD: Tensor, memory_BTD: Tensor, grid_BTD: Tensor, graph: Tensor, hidden: Tensor
    ) -> Tensor:
        """The joints' new state, shape (B, J, D).

        Args:
            graph: kernels of `normalised_adjacency`, shape (B, 2, J, J).
            hidden: joints that attention masks, bool, shape (B, J); never all joints of an image.
        """
        both = joint_BJD + place_BJD
        seen = self.self_attn(both, both, joint_BJD, key_padding_mask=hidden, need_weights=False)[0]
        joint_BJD = self.norm1(joint_BJD + self.dropout(seen))
        query, key = torch.cat([joint_BJD, place_BJD], -1), torch.cat([memory_BTD, grid_BTD], -1)
        seen = self.multihead_attn(query, key, memory_BTD, need_weights=False)[0]
        joint_BJD = self.norm2(joint_BJD + self.dropout(self.choker(seen)))
        return self.norm3(joint_BJD + self.dropout(self.ffn2(self.dropout(self._along_bones(joint_BJD, graph)))))

    def _along_bones(self, joint_BJD: Tensor, graph_B2JJ: Tensor) -> Tensor:
        value = self.ffn1(joint_BJD).unflatten(-1, (2, -1))
        return functional.relu(torch.einsum("bvkc,bkvw->bwc", value, graph_B2JJ))


class Decoder(nn.Module):
    """The decoder layers; each refines the positions of the joints."""

    def __init__(self, config: GraphConfig) -> None:
        super().__init__()
        dim = config.dim
        self.layers = nn.ModuleList([DecoderLayer(config) for _ in range(config.num_layers)])
        self.norm = nn.LayerNorm(dim)
        self.ref_point_head = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(
        self, joint_BJD: Tensor, memory_BTD: Tensor, grid_TD: Tensor, graph: Tensor, hidden_BJ: Tensor,
        proposal_BJ2: Tensor, point_heads: nn.ModuleList,
    ) -> GraphOutput:  # fmt: skip
        grid_BTD = grid_TD.expand(len(joint_BJD), -1, -1)
        points, states = [proposal_BJ2], []
        point_BJ2 = proposal_BJ2  # gradients flow through the proposals only
        for layer, point_head in zip(self.layers, point_heads, strict=True):
            place_BJD = self.ref_point_head(encode_points(point_BJ2, joint_BJD.shape[-1]))
            joint_BJD = layer(joint_BJD, place_BJD, memory_BTD, grid_BTD, graph, hidden_BJ)
            states.append(self.norm(joint_BJD))
            point_BJ2 = (_logit(point_BJ2.detach()) + point_head(joint_BJD.detach())).sigmoid().detach()
            points.append(point_BJ2)
        return GraphOutput(torch.stack(states), tuple(points))


class PoseGraph(nn.Module):
    """The joints' states from feature map, heat maps of the joints, and skeleton."""

    def __init__(self, config: GraphConfig, num_channels: int, map_side: int, heatmap_size: int) -> None:
        super().__init__()
        dim = config.dim
        self.input_proj = nn.Conv2d(num_channels, dim, 1)
        self.query_proj = nn.Linear(num_channels, dim)
        self.proposal_generator = ProposalGenerator(dim)
        self.decoder = Decoder(config)
        self.point_heads = nn.ModuleList([_point_head(dim) for _ in range(config.num_layers)])
        upsampling = torch.from_numpy(bilinear_matrix(heatmap_size, map_side))
        self.register_buffer("upsampling", upsampling, persistent=False)

    def joint_features(self, map_BCHW: Tensor, heatmap_BJSS: Tensor, weight_BJ: Tensor) -> Tensor:
        """The map's features averaged under each joint's heat map, zeros for joints of weight 0: shape (B, J, C)."""
        share_BJSS = heatmap_BJSS / (heatmap_BJSS.sum((-2, -1), keepdim=True) + 1e-8)
        # Scaling the heat maps down instead of the map up gives the same sums with a hundredth of the work.
        share_BJHW = self.upsampling.T @ share_BJSS @ self.upsampling
        return (share_BJHW.flatten(2) @ map_BCHW.flatten(2).transpose(1, 2)) * weight_BJ[..., None]

    def forward(self, map_BCHW: Tensor, heatmap_BJSS: Tensor, weight_BJ: Tensor, adjacency_BJJ: Tensor) -> GraphOutput:
        """The joints' states.

        Args:
            map_BCHW: the backbone's feature map.
            heatmap_BJSS: position of each joint as a heat map of any scale.
            weight_BJ: 1, or 0 for a joint outside the image.
            adjacency_BJJ: 0/1, symmetric.
        """
        height, width = map_BCHW.shape[-2:]
        memory_BTD = self.input_proj(map_BCHW).flatten(2).transpose(1, 2)
        joint_BJD = self.query_proj(self.joint_features(map_BCHW, heatmap_BJSS, weight_BJ))
        hidden_BJ = hidden_joints(weight_BJ)
        return self.decoder(
            joint_BJD,
            memory_BTD,
            encode_grid(height, width, memory_BTD.shape[-1], map_BCHW.device),
            normalised_adjacency(adjacency_BJJ, hidden_BJ),
            hidden_BJ,
            self.proposal_generator(memory_BTD, joint_BJD, height, width),
            self.point_heads,
        )


def _point_head(dim: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Linear(dim, dim), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(dim, 2))


def _logit(point: Tensor) -> Tensor:
    """Inverse sigmoid, bounded."""
    point = point.clamp(0, 1)
    return torch.log(point.clamp(min=_EPS_LOGIT) / (1 - point).clamp(min=_EPS_LOGIT))
