"""CLIP's vision transformer and the adapter on its output.

Shape letters: B = images, T = tokens (class token first), W = width, E = output dim, H, P = heads, dims of a head.
Source: Radford et al. 2021 (CLIP); Gao et al. 2021 (CLIP-Adapter).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from paaplus.models.physiqueframe.network.config import VitConfig


class QuickGelu(nn.Module):
    """x * sigmoid(1.702 x), with which CLIP was trained; the exact GELU gives other scores."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x_BTW: Tensor) -> Tensor:
        B, T, W = x_BTW.shape
        query, key, value = self.in_proj(x_BTW).view(B, T, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        out_BHTP = functional.scaled_dot_product_attention(query, key, value)
        return self.out_proj(out_BHTP.transpose(1, 2).reshape(B, T, W))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, num_heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", QuickGelu())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))

    def forward(self, x_BTW: Tensor) -> Tensor:
        x_BTW = x_BTW + self.attn(self.ln_1(x_BTW))
        return x_BTW + self.mlp(self.ln_2(x_BTW))


class ClipVit(nn.Module):
    """The image tower of CLIP: embeddings (B, E) of normalised pixels (B, 3, S, S)."""

    def __init__(self, config: VitConfig, image_size: int) -> None:
        super().__init__()
        num_tokens = (image_size // config.patch_size) ** 2 + 1
        scale = config.width**-0.5
        self.conv1 = nn.Conv2d(3, config.width, config.patch_size, config.patch_size, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(config.width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(num_tokens, config.width))
        self.ln_pre = nn.LayerNorm(config.width)
        self.blocks = nn.ModuleList([Block(config.width, config.num_heads) for _ in range(config.num_layers)])
        self.ln_post = nn.LayerNorm(config.width)
        self.proj = nn.Parameter(scale * torch.randn(config.width, config.out_dim))

    def forward(self, image: Tensor) -> Tensor:
        patch_BTW = self.conv1(image).flatten(2).transpose(1, 2)
        class_B1W = self.class_embedding.expand(len(image), 1, -1)
        x_BTW = self.ln_pre(torch.cat([class_B1W, patch_BTW], 1) + self.positional_embedding)
        for block in self.blocks:
            x_BTW = block(x_BTW)
        return self.ln_post(x_BTW[:, 0]) @ self.proj


class ClipAdapter(nn.Module):
    """A bottleneck on the embedding, mixed back: `ratio * adapted + (1 - ratio) * embedding`."""

    def __init__(self, dim: int, hidden_dim: int, ratio: float) -> None:
        super().__init__()
        self.ratio = ratio
        self.fc = nn.Sequential(
            nn.Linear(dim, hidden_dim, bias=False), nn.ReLU(), nn.Linear(hidden_dim, dim, bias=False), nn.ReLU()
        )

    def forward(self, embedding_BE: Tensor) -> Tensor:
        return self.ratio * self.fc(embedding_BE) + (1 - self.ratio) * embedding_BE
