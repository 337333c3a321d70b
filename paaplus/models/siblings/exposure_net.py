"""P-IEANet: for every pixel of an image how far its exposure is from ideal, above 0 too dark, below 0 too bright.

A lightness branch (a feature-fusion attention network of 3x3 convolutions) gives a signed map. A structure branch, on
differences between neighbouring cells of a half-size copy, adds something of 0 or more. Module names are those of the
official state dict, so a strict load is the check of a file.

One image gives one map: attention of the structure branch runs over the images of a batch in the official code, where
every token sees its fellows of the other images; with one image each token sees itself. `batch_attention` brings that
back for parity tests.

Source:
    Pixel-level No-reference Image Exposure Assessment (P-IEANet), its repository's weights.
Shape letters: B = images, C = channels, H, W = pixels, T = tokens.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

SIDE_PX = 256  # the structure branch is for this size only
NUM_MAPS = 9  # the half-size copy, and its difference from each of eight neighbours
WIDTH = 9  # numbers of a token
NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, -1), (-1, 1), (1, 1))


def _conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class ChannelAttention(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.ca = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1), nn.Sigmoid())

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW * self.ca(x_BCHW.mean((2, 3), keepdim=True))


class PixelAttention(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.pa = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, 1, 1), nn.Sigmoid())

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW * self.pa(x_BCHW)


class Block(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = _conv3(channels, channels), _conv3(channels, channels)
        self.calayer, self.palayer = ChannelAttention(channels, hidden), PixelAttention(channels, hidden)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        inside_BCHW = self.conv2(functional.relu(self.conv1(x_BCHW)) + x_BCHW)
        return self.palayer(self.calayer(inside_BCHW)) + x_BCHW


class Group(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        blocks = [Block(channels, hidden), Block(channels, hidden)]
        self.gp = nn.Sequential(*blocks, _conv3(channels, channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.gp(x_BCHW) + x_BCHW


class Lightness(nn.Module):
    """The signed map, (B, 1, H, W), of an RGB image 0-1."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.pre = nn.Sequential(_conv3(3, channels))
        self.g1, self.g2, self.g3 = (Group(channels, hidden) for _ in range(3))
        # place 0 is the mean over pixels, place 2 a ReLU
        self.ca = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(3 * channels, max(channels // 16, 1), 1),
            nn.ReLU(),
            nn.Conv2d(max(channels // 16, 1), 3 * channels, 1),
            nn.Sigmoid(),
        )
        self.palayer = PixelAttention(channels, hidden)
        self.post = nn.Sequential(_conv3(channels, channels), _conv3(channels, 1))
        self.post_2 = nn.Sequential(_conv3(3, 1))

    def forward(self, rgb_B3HW: Tensor, seen: dict[str, Tensor]) -> Tensor:
        first_BCHW = self.g1(self.pre(rgb_B3HW))
        second_BCHW = self.g2(first_BCHW)
        third_BCHW = self.g3(second_BCHW)
        seen["group2"] = second_BCHW
        groups = (first_BCHW, second_BCHW, third_BCHW)
        weights = self.ca(torch.cat(groups, 1)).chunk(3, 1)
        mixed_BCHW = sum(weight * group for weight, group in zip(weights, groups, strict=True))
        return self.post_2(self.post(self.palayer(mixed_BCHW)) + rgb_B3HW)


class Attention(nn.Module):
    """One head. Each token sees itself, so queries and keys do nothing; across a batch it sees those in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * WIDTH, WIDTH))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * WIDTH))
        self.out_proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, query_BTC: Tensor, source_BTC: Tensor, across_batch: bool) -> Tensor:
        weight_q, weight_k, weight_v = self.in_proj_weight.chunk(3)
        bias_q, bias_k, bias_v = self.in_proj_bias.chunk(3)
        value_BTC = functional.linear(source_BTC, weight_v, bias_v)
        if across_batch:
            query_TBC = functional.linear(query_BTC, weight_q, bias_q).transpose(0, 1)
            key_TBC = functional.linear(source_BTC, weight_k, bias_k).transpose(0, 1)
            share_TBB = torch.softmax(query_TBC @ key_TBC.transpose(1, 2) / WIDTH**0.5, 2)
            value_BTC = (share_TBB @ value_BTC.transpose(0, 1)).transpose(0, 1)
        return self.out_proj(value_BTC)


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = Attention()
        self.linear1, self.linear2 = nn.Linear(WIDTH, 16), nn.Linear(16, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward_through(self, x_BTC: Tensor) -> Tensor:
        return self.linear2(functional.relu(self.linear1(x_BTC)))


class EncoderLayer(FeedForward):
    def forward(self, x_BTC: Tensor, across_batch: bool) -> Tensor:
        x_BTC = self.norm1(x_BTC + self.self_attn(x_BTC, x_BTC, across_batch))
        return self.norm2(x_BTC + self.forward_through(x_BTC))


class DecoderLayer(FeedForward):
    def __init__(self) -> None:
        super().__init__()
        self.multihead_attn = Attention()
        self.norm3 = nn.LayerNorm(WIDTH)

    def forward(self, x_BTC: Tensor, encoded_BTC: Tensor, across_batch: bool) -> Tensor:
        x_BTC = self.norm1(x_BTC + self.self_attn(x_BTC, x_BTC, across_batch))
        x_BTC = self.norm2(x_BTC + self.multihead_attn(x_BTC, encoded_BTC, across_batch))
        return self.norm3(x_BTC + self.forward_through(x_BTC))


class Stack(nn.Module):
    """One layer and a last norm, under the names of PyTorch's own transformer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList([layer])
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, *args: object) -> Tensor:
        return self.norm(self.layers[0](*args))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Stack(EncoderLayer()), Stack(DecoderLayer())

    def forward(self, x_BTC: Tensor, across_batch: bool) -> Tensor:
        return self.decoder(x_BTC, self.encoder(x_BTC, across_batch), across_batch)


class TokenMap(nn.Module):
    """A map read as rows of nine numbers in memory order, which is mostly nine neighbours of one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = Transformer()
        self.conv = nn.Conv2d(NUM_MAPS, 3, 1)

    def forward(self, z_BCHW: Tensor, across_batch: bool) -> Tensor:
        tokens_BTC = z_BCHW.reshape(len(z_BCHW), -1, WIDTH)
        return self.conv(self.transformer(tokens_BTC, across_batch).reshape(z_BCHW.shape))


class CornerConv(nn.Module):
    """A 2x2 convolution that keeps the size: zeros come to the left and on top."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 3, 2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.conv(functional.pad(x_BCHW, (1, 0, 1, 0)))


class HalfSize(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 2, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.conv(x_BCHW)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for i in range(NUM_MAPS):
            self.add_module(f"conv{i}", CornerConv(NUM_MAPS))
            self.add_module(f"transformer{i}", TokenMap())
            self.add_module(f"fusion{i}", CornerConv(6))

    def forward(self, z_BCHW: Tensor, across_batch: bool, seen: dict[str, Tensor]) -> Tensor:
        total_BCHW = torch.zeros(())
        for i, one_BCHW in enumerate(neighbour_differences(z_BCHW)):
            short_BCHW = self.get_submodule(f"conv{i}")(one_BCHW)
            long_BCHW = self.get_submodule(f"transformer{i}")(one_BCHW, across_batch)
            fused_BCHW = self.get_submodule(f"fusion{i}")(torch.cat((short_BCHW, long_BCHW), 1))
            seen |= {f"short{i}": short_BCHW, f"long{i}": long_BCHW, f"fuse{i}": fused_BCHW}
            total_BCHW = total_BCHW + fused_BCHW
        return total_BCHW


class Fusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blur_conv = nn.Sequential(_conv3(3, 3), nn.ReLU(), _conv3(3, 1))  # in the file, used by nothing
        self.tail_conv = nn.Sequential(_conv3(3, 3), nn.ReLU(), _conv3(3, 6), nn.ReLU(), _conv3(6, 1), nn.ReLU())


class ExposureNet(nn.Module):
    """RGB 0-1, (B, 3, 256, 256), to the map, (B, 1, 256, 256), about -.5 to .5.

    Args:
        channels: of the lightness branch; 64 is the official network.
    """

    def __init__(self, channels: int = 64, hidden: int = 8) -> None:
        super().__init__()
        self.ffa_group = Lightness(channels, hidden)
        self.encoder = Encoder()
        self.Low, self.High_1, self.High_2, self.High_3 = (HalfSize() for _ in range(4))  # nothing uses `Low`
        self.fusion = Fusion()

    def forward(self, rgb_B3HW: Tensor, batch_attention: bool = False, seen: dict[str, Tensor] | None = None) -> Tensor:
        """`seen` receives maps on the way, by the names that parity fixtures have for them."""
        seen = {} if seen is None else seen
        lightness_B1HW = self.ffa_group(rgb_B3HW, seen)
        high = [half(rgb_B3HW) for half in (self.High_1, self.High_2, self.High_3)]
        structure_B3HW = self.encoder(torch.cat(high, 1), batch_attention, seen)
        seen |= {"lightness": lightness_B1HW, "structure": structure_B3HW, "high2": high[1]}
        whole_B3HW = functional.interpolate(
            structure_B3HW, size=rgb_B3HW.shape[2:], mode="bilinear", align_corners=False
        )
        return lightness_B1HW + self.fusion.tail_conv(whole_B3HW)


def neighbour_differences(z_BCHW: Tensor) -> list[Tensor]:
    """The map itself and, at its own size again, its inner part minus each of the eight neighbours."""
    height, width = z_BCHW.shape[2:]
    row = torch.arange(height, device=z_BCHW.device) * (height - 2) // height
    column = torch.arange(width, device=z_BCHW.device) * (width - 2) // width
    inner_BCHW = z_BCHW[:, :, 1:-1, 1:-1]
    maps = [z_BCHW]
    for down, right in NEIGHBOURS:
        beside_BCHW = z_BCHW[:, :, 1 + down : height - 1 + down, 1 + right : width - 1 + right]
        maps.append((inner_BCHW - beside_BCHW)[:, :, row][:, :, :, column])
    return maps


def network_input(image: Image.Image) -> Tensor:
    """RGB 0-1, (1, 3, 256, 256): squashed to a square, bilinear with antialiasing."""
    pixel_HW3 = torch.from_numpy(np.array(image.convert("RGB"), np.float32)) / 255.0
    rgb_13HW = pixel_HW3.permute(2, 0, 1)[None]
    return functional.interpolate(
        rgb_13HW, size=(SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False, antialias=True
    )
