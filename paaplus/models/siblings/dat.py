"""The deformable-attention transformer that EAT, ICAA-DeT and Prompt-DeT share: a pyramid of four stages.

The first two stages attend within windows and shifted windows; in the last two every other block is deformable: keys
and values are sampled at positions that the image itself chooses, around reference points that it chooses, too.
Positions may leave the image, where everything is zero.

In the official code reference points (and gates) are averaged over the images of a batch, so that a score depends on
its neighbours. Here each image has its own, which is what the official code gives for one image; `shared_reference`
brings the average back for parity tests.

Source:
    Xia et al., Vision transformer with deformable attention (CVPR 2022); He et al., EAT (ACM MM 2023).
Shape letters: B = images, C = channels, H, W = cells, N = cells of a window or map, G = groups, P = heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

HEAD_DIM = 32
_GATE_SLOPE = -99999.0  # hard in effect: open where the value is negative
_APART = -100.0  # between cells of a shifted window that are no neighbours in the image
_AGAINST = 0.25  # of an offset that points away from its reference point


@dataclass(frozen=True)
class DatConfig:
    """Sizes of the network; the defaults are the official ones. `gate`: ICAA-DeT's and Prompt-DeT's."""

    widths: tuple[int, ...] = (128, 256, 512, 1024)
    depths: tuple[int, ...] = (2, 2, 18, 2)
    groups: tuple[int, ...] = (0, 0, 4, 8)  # 0: a stage without deformable attention
    kernels: tuple[int, ...] = (0, 0, 5, 3)
    window: int = 7
    side_px: int = 224
    gate: bool = False

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(self.side_px // 4 // 2**stage for stage in range(len(self.widths)))


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.norm(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Mlp(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.chunk = nn.Module()
        self.chunk.linear1 = nn.Linear(channels, 4 * channels)
        self.chunk.linear2 = nn.Linear(4 * channels, channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        inside = functional.gelu(self.chunk.linear1(x_BCHW.permute(0, 2, 3, 1)))
        return self.chunk.linear2(inside).permute(0, 3, 1, 2)


class WindowAttention(nn.Module):
    """Attention within windows; with `shift` above 0 on the map rolled by it."""

    def __init__(self, channels: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift, self.num_heads = window, shift, channels // HEAD_DIM
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, self.num_heads))
        self.proj_qkv, self.proj_out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        B, C, H, W = x_BCHW.shape
        side, num_cells = self.window, self.window**2
        if self.shift:
            x_BCHW = x_BCHW.roll((-self.shift, -self.shift), (2, 3))
        x = x_BCHW.reshape(B, C, H // side, side, W // side, side).permute(0, 2, 4, 3, 5, 1)
        windows = x.reshape(-1, num_cells, C)
        query, key, value = (
            self.proj_qkv(windows).reshape(len(windows), num_cells, 3, self.num_heads, HEAD_DIM).permute(2, 0, 3, 1, 4)
        )
        weight = query * HEAD_DIM**-0.5 @ key.transpose(2, 3) + self._bias()
        if self.shift:
            mask = _apart(H, W, side, self.shift, weight.device)
            weight = weight.reshape(B, len(mask), self.num_heads, num_cells, num_cells) + mask[None, :, None]
            weight = weight.reshape(-1, self.num_heads, num_cells, num_cells)
        out = self.proj_out((torch.softmax(weight, 3) @ value).transpose(1, 2).reshape(len(windows), num_cells, C))
        out = out.reshape(B, H // side, W // side, side, side, C).permute(0, 5, 1, 3, 2, 4).reshape(B, C, H, W)
        return out.roll((self.shift, self.shift), (2, 3)) if self.shift else out

    def _bias(self) -> Tensor:
        place = torch.arange(self.window, device=self.relative_position_bias_table.device)
        y, x = (grid.flatten() for grid in torch.meshgrid(place, place, indexing="ij"))
        reach = self.window - 1
        index_NN = (y[:, None] - y[None] + reach) * (2 * reach + 1) + (x[:, None] - x[None] + reach)
        return self.relative_position_bias_table[index_NN].permute(2, 0, 1)


class DeformableAttention(nn.Module):
    """Attention to places of the map that the image chooses."""

    def __init__(self, channels: int, size: int, groups: int, kernel: int, gate: bool) -> None:
        super().__init__()
        self.groups, self.num_heads, self.size = groups, channels // HEAD_DIM, size
        inside = channels // groups
        self.conv_offset = nn.Sequential(
            nn.Conv2d(inside, inside, kernel, padding=kernel // 2, groups=inside),
            ChannelNorm(inside),
            nn.GELU(),
            nn.Conv2d(inside, 2, 1, bias=False),
        )
        self.proj_q, self.proj_k, self.proj_v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))
        self.rpe_table = nn.Parameter(torch.zeros(self.num_heads, 2 * size - 1, 2 * size - 1))
        self.ref_point14 = nn.Conv2d(channels, 2, 1)
        self.ref_gate = nn.Conv2d(channels, 1, 1) if gate else None

    def forward(self, x_BCHW: Tensor, shared_reference: bool, seen: dict[str, Tensor]) -> Tensor:
        B, C, H, W = x_BCHW.shape
        G, N = self.groups, H * W
        query_BCHW = self.proj_q(x_BCHW)
        position = self._positions(x_BCHW, query_BCHW, shared_reference, seen)  # (B G, H, W, 2), y before x
        sampled = _sample(x_BCHW.reshape(B * G, C // G, H, W), position).reshape(B, C, H, W)
        query = query_BCHW.reshape(B * self.num_heads, HEAD_DIM, N)
        key = self.proj_k(sampled).reshape(B * self.num_heads, HEAD_DIM, N)
        value = self.proj_v(sampled).reshape(B * self.num_heads, HEAD_DIM, N)
        weight = query.transpose(1, 2) @ key * HEAD_DIM**-0.5 + self._bias(position, B)
        out = (value @ torch.softmax(weight, 2).transpose(1, 2)).reshape(B, C, H, W)
        return self.proj_out(out)

    def _positions(self, x_BCHW: Tensor, query_BCHW: Tensor, shared_reference: bool, seen: dict[str, Tensor]) -> Tensor:
        B, C, H, W = x_BCHW.shape
        raw = self.conv_offset(query_BCHW.reshape(B * self.groups, C // self.groups, H, W)).permute(0, 2, 3, 1)
        offset = 2.0 * torch.tanh(raw) / torch.tensor((H, W), dtype=raw.dtype, device=raw.device)
        reference, gate = self.ref_point14(x_BCHW), None
        if self.ref_gate is not None:
            gate = self.ref_gate(x_BCHW)
        if shared_reference:
            reference = reference.mean(0, keepdim=True).expand(B, -1, -1, -1)
            gate = gate.mean(0, keepdim=True).expand(B, -1, -1, -1) if gate is not None else None
        reference_BHW2 = torch.tanh(reference).permute(0, 2, 3, 1)
        seen["ref"] = reference_BHW2
        reference = reference_BHW2.repeat_interleave(self.groups, 0)
        agrees = (offset * reference > 0).all(3, keepdim=True)
        position = torch.where(agrees, offset, _AGAINST * offset) + reference
        if gate is not None:
            position = position * torch.sigmoid(_GATE_SLOPE * gate).permute(0, 2, 3, 1).repeat_interleave(
                self.groups, 0
            )
        seen["pos"] = position.reshape(B, self.groups, H, W, 2)
        return position

    def _bias(self, position: Tensor, B: int) -> Tensor:
        size, G = self.size, self.groups
        centre = (torch.arange(size, dtype=position.dtype, device=position.device) + 0.5) / size * 2.0 - 1.0
        grid_N2 = torch.stack(torch.meshgrid(centre, centre, indexing="ij"), 2).reshape(-1, 2)
        apart = (grid_N2[None, :, None] - position.reshape(B * G, 1, -1, 2)) * 0.5
        table = self.rpe_table.reshape(1, G, -1, *self.rpe_table.shape[1:]).expand(B, -1, -1, -1, -1)
        bias = _sample(table.reshape(B * G, -1, *self.rpe_table.shape[1:]), apart)
        return bias.reshape(B * self.num_heads, len(grid_N2), -1)


class Stage(nn.Module):
    def __init__(self, config: DatConfig, stage: int) -> None:
        super().__init__()
        channels, size = config.widths[stage], config.sizes[stage]
        groups, kernel = config.groups[stage], config.kernels[stage]
        shift = (config.window + 1) // 2
        attentions: list[nn.Module] = []
        for block in range(config.depths[stage]):
            if block % 2 and groups:
                attentions.append(DeformableAttention(channels, size, groups, kernel, config.gate))
            else:
                attentions.append(WindowAttention(channels, config.window, shift if block % 2 else 0))
        self.attns = nn.ModuleList(attentions)
        self.layer_norms = nn.ModuleList(ChannelNorm(channels) for _ in range(2 * config.depths[stage]))
        self.mlps = nn.ModuleList(Mlp(channels) for _ in range(config.depths[stage]))

    def forward(self, x_BCHW: Tensor, shared_reference: bool, name: str, seen: dict[str, Tensor]) -> Tensor:
        for block, (attention, mlp) in enumerate(zip(self.attns, self.mlps, strict=True)):
            normal_BCHW = self.layer_norms[2 * block](x_BCHW)
            if isinstance(attention, DeformableAttention):
                chosen: dict[str, Tensor] = {}
                found_BCHW = attention(normal_BCHW, shared_reference, chosen)
                seen |= {f"{what}_{name}b{block}": tensor for what, tensor in chosen.items()}
            else:
                found_BCHW = attention(normal_BCHW)
            seen[f"attn_{name}b{block}"] = found_BCHW
            x_BCHW = x_BCHW + found_BCHW
            x_BCHW = x_BCHW + mlp(self.layer_norms[2 * block + 1](x_BCHW))
        return x_BCHW


class Trunk(nn.Module):
    """ImageNet-normalised pixels, (B, 3, 224, 224), to the last map, (B, 1024, 7, 7); heads are of the subclasses."""

    def __init__(self, config: DatConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.patch_proj = nn.Sequential(nn.Conv2d(3, widths[0], 4, 4), ChannelNorm(widths[0]))
        self.stages = nn.ModuleList(Stage(config, stage) for stage in range(len(widths)))
        self.down_projs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(narrow, wide, 2, 2, bias=False), ChannelNorm(wide))
            for narrow, wide in pairwise(widths)
        )

    def last_map(self, pixel_B3HW: Tensor, shared_reference: bool, seen: dict[str, Tensor]) -> Tensor:
        """`seen` receives what is met on the way, by the names that parity fixtures have for it."""
        x_BCHW = seen["stem"] = self.patch_proj(pixel_B3HW)
        for number, stage in enumerate(self.stages):
            x_BCHW = seen[f"stage{number}"] = stage(x_BCHW, shared_reference, f"s{number}", seen)
            if number < len(self.down_projs):
                x_BCHW = self.down_projs[number](x_BCHW)
        return x_BCHW


class Eat(Trunk):
    """EAT: ten raw numbers (AVA), which are no distribution, or one (TAD66K)."""

    def __init__(self, num_outputs: int, config: DatConfig | None = None) -> None:
        config = config or DatConfig()
        super().__init__(config)
        self.cls_norm = ChannelNorm(config.widths[-1])
        self.cls_head = nn.Linear(config.widths[-1], num_outputs)

    def forward(
        self, pixel_B3HW: Tensor, shared_reference: bool = False, seen: dict[str, Tensor] | None = None
    ) -> Tensor:
        seen = {} if seen is None else seen
        seen["features"] = self.cls_norm(self.last_map(pixel_B3HW, shared_reference, seen)).mean((2, 3))
        return self.cls_head(seen["features"])


def _sample(map_BCHW: Tensor, position_BHW2: Tensor) -> Tensor:
    """Bilinear at positions (y, x) in -1..1, the corner cells' centres at the ends; zero outside."""
    return functional.grid_sample(
        map_BCHW, position_BHW2.flip(3), mode="bilinear", padding_mode="zeros", align_corners=True
    )


def _apart(height: int, width: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Per window what is added to the weights of pairs that the roll has brought together, (windows, N, N)."""
    region_HW = torch.zeros(height, width, device=device)
    cuts = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((rows, columns) for rows in cuts for columns in cuts):
        region_HW[rows, columns] = number
    cells = region_HW.reshape(height // window, window, width // window, window).permute(0, 2, 1, 3)
    cells = cells.reshape(-1, window**2)
    return torch.where(cells[:, :, None] == cells[:, None], 0.0, _APART)
