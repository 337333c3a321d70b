"""Swin Transformer V2 as in Pose-Anything: its last feature map, up-sampled by two.

Shape letters: B = images, H, W = cells of a stage's map, C = channels, N = cells of a window, M = windows of an image,
A = heads, P = dims of a head. Source: Liu et al. 2022, "Swin Transformer V2"; names as in Microsoft's checkpoints.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from paaplus.models.physiqueframe.network.config import SwinConfig

_BIAS_MLP_DIM = 512
_MAX_LOGIT_SCALE = math.log(100.0)


def relative_coords_table(window: int, pretrained_window: int) -> np.ndarray:
    """Log-spaced offsets between two cells of a window, shape (1, 2 window - 1, 2 window - 1, 2), float32.

    Offsets are relative to the window of pre-training, so that a larger window extrapolates little.
    """
    offset = np.arange(1 - window, window, dtype=np.float32)
    table = np.stack(np.meshgrid(offset, offset, indexing="ij"), axis=-1) * np.float32(8 / (pretrained_window - 1))
    return (np.sign(table) * np.log2(np.abs(table) + 1) / np.float32(3))[None].astype(np.float32)


def relative_position_index(window: int) -> np.ndarray:
    """Row of the flattened coordinates table for every pair of cells: shape (window^2, window^2), int64."""
    cell = np.stack(np.meshgrid(np.arange(window), np.arange(window), indexing="ij")).reshape(2, -1)
    offset = cell[:, :, None] - cell[:, None, :] + window - 1
    return offset[0] * (2 * window - 1) + offset[1]


def shift_mask(side: int, window: int, shift: int) -> np.ndarray:
    """-100 between cells that are in one window only because the map was rolled, else 0: (windows, N, N), float32."""
    region = np.zeros(side, np.int64)
    region[side - window : side - shift] = 1
    region[side - shift :] = 2
    map_HW = 3 * region[:, None] + region[None, :]
    steps = side // window
    by_window = map_HW.reshape(steps, window, steps, window).transpose(0, 2, 1, 3).reshape(-1, window * window)
    return np.where(by_window[:, :, None] == by_window[:, None, :], 0, -100).astype(np.float32)


class WindowAttention(nn.Module):
    """Cosine attention inside windows, with a bias that a small network computes from relative positions."""

    def __init__(self, width: int, num_heads: int, window: int, pretrained_window: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.logit_scale = nn.Parameter(torch.full((num_heads, 1, 1), math.log(10.0)))
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, _BIAS_MLP_DIM), nn.ReLU(), nn.Linear(_BIAS_MLP_DIM, num_heads, bias=False)
        )
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)
        table = torch.from_numpy(relative_coords_table(window, pretrained_window))
        index = torch.from_numpy(relative_position_index(window))
        self.register_buffer("relative_coords_table", table, persistent=False)
        self.register_buffer("relative_position_index", index, persistent=False)

    def position_bias(self) -> Tensor:
        """The bias of each head between two cells of a window, shape (A, N, N)."""
        N = len(self.relative_position_index)
        table = self.cpb_mlp(self.relative_coords_table).view(-1, self.num_heads)
        return 16 * torch.sigmoid(table[self.relative_position_index.view(-1)].view(N, N, -1).permute(2, 0, 1))

    def forward(self, x_WNC: Tensor, mask_MNN: Tensor | None) -> Tensor:
        """Windows of all images, image by image, shape (B * M, N, C); `mask_MNN` is the same for every image."""
        W, N, C = x_WNC.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        query, key, value = (self.qkv(x_WNC) + bias).view(W, N, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        scale = self.logit_scale.clamp(max=_MAX_LOGIT_SCALE).exp()
        bias_1ANN = self.position_bias().unsqueeze(0)
        if mask_MNN is not None:
            bias_1ANN = (bias_1ANN + mask_MNN.unsqueeze(1)).repeat(W // len(mask_MNN), 1, 1, 1)
        query = functional.normalize(query, dim=-1) * scale
        out_WANP = functional.scaled_dot_product_attention(
            query, functional.normalize(key, dim=-1), value, bias_1ANN, scale=1.0
        )
        return self.proj(out_WANP.transpose(1, 2).reshape(W, N, C))


class DropPath(nn.Module):
    """Skip a block for random images of a training batch (stochastic depth)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = torch.rand(len(x), *([1] * (x.ndim - 1)), device=x.device) >= self.rate
        return x * keep / (1 - self.rate)


class Block(nn.Module):
    """Window attention and an MLP, each normalised before it is added."""

    def __init__(self, width: int, num_heads: int, side: int, window: int, shift: int, pretrained: int, drop: float):
        super().__init__()
        self.side, self.window, self.shift = side, window, shift
        self.attn = WindowAttention(width, num_heads, window, pretrained)
        self.norm1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("fc1", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", nn.GELU())
        self.mlp.add_module("fc2", nn.Linear(4 * width, width))
        self.norm2 = nn.LayerNorm(width)
        self.drop_path = DropPath(drop)
        mask = torch.from_numpy(shift_mask(side, window, shift)) if shift else None
        self.register_buffer("attn_mask", mask, persistent=False)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        x_BHWC = x_BHWC + self.drop_path(self.norm1(self._attend(x_BHWC)))
        return x_BHWC + self.drop_path(self.norm2(self.mlp(x_BHWC)))

    def _attend(self, x_BHWC: Tensor) -> Tensor:
        B, H, W, C = x_BHWC.shape
        window, steps = self.window, self.side // self.window
        if self.shift:
            x_BHWC = x_BHWC.roll((-self.shift, -self.shift), (1, 2))
        x_WNC = x_BHWC.view(B, steps, window, steps, window, C).transpose(2, 3).reshape(-1, window * window, C)
        x_WNC = self.attn(x_WNC, self.attn_mask)
        x_BHWC = x_WNC.view(B, steps, steps, window, window, C).transpose(2, 3).reshape(B, H, W, C)
        return x_BHWC.roll((self.shift, self.shift), (1, 2)) if self.shift else x_BHWC


class PatchMerging(nn.Module):
    """Merges four neighbouring cells into one with twice the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(2 * width)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        corners = [x_BHWC[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.norm(self.reduction(torch.cat(corners, -1)))


class Stage(nn.Module):
    """Blocks at one resolution, every second one on shifted windows, then the step to the next resolution."""

    def __init__(self, config: SwinConfig, stage: int, side: int, drop_rates: list[float]) -> None:
        super().__init__()
        width = config.width * 2**stage
        window = min(config.window_size, side)
        shift = window // 2 if side > window else 0
        self.blocks = nn.Sequential(
            *(
                Block(
                    width=width,
                    num_heads=config.num_heads[stage],
                    side=side,
                    window=window,
                    shift=shift if block % 2 else 0,
                    pretrained=config.pretrained_window_sizes[stage],
                    drop=drop,
                )
                for block, drop in enumerate(drop_rates)
            )
        )
        self.downsample = PatchMerging(width) if stage + 1 < len(config.depths) else nn.Identity()

    def forward(self, x_BHWC: Tensor) -> Tensor:
        return self.downsample(self.blocks(x_BHWC))


class PatchEmbed(nn.Module):
    """The first feature map of pixels."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, patch_size)
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(self.proj(image).permute(0, 2, 3, 1))


class SwinV2(nn.Module):
    """A feature map (B, C, H, W) of normalised pixels (B, 3, S, S); for four stages, H = W = S / 16."""

    def __init__(self, config: SwinConfig, image_size: int) -> None:
        super().__init__()
        side = image_size // config.patch_size
        rates = np.linspace(0, config.drop_path_rate, sum(config.depths)).tolist()
        self.patch_embed = PatchEmbed(config.patch_size, config.width)
        self.layers = nn.Sequential()
        for stage, depth in enumerate(config.depths):
            first = sum(config.depths[:stage])
            self.layers.append(Stage(config, stage, side // 2**stage, rates[first : first + depth]))
        self.norm = nn.LayerNorm(config.out_dim)
        self.upsample = nn.ConvTranspose2d(config.out_dim, config.out_dim, 2, 2)
        self.out_side = 2 * side // 2 ** (len(config.depths) - 1)

    def forward(self, image: Tensor) -> Tensor:
        map_BHWC = self.norm(self.layers(self.patch_embed(image)))
        return self.upsample(map_BHWC.permute(0, 3, 1, 2))
