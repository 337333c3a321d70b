"""The part of SMPLer-X that body meshes need: encoder, body position net, body and face regressors.

PhysiqueFrame's inputs do not depend on the hands, so the hand and box nets are left out. Parameters have the official
names. The code is this project's own; the user supplies the checkpoint (S-Lab licence, non-commercial:
docs/licences.md).

Shape letters: B = images, T = tokens, C = channels, K = key points, D, H, W = depth, height, width of heat maps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paaplus.models.physiqueframe.body.model_file import NUM_DIRECTIONS
from paaplus.models.physiqueframe.body.skinning import NUM_BODY_JOINTS

CROP_HEIGHT_PX, CROP_WIDTH_PX = 512, 384  # the person's crop; the network uses every second pixel
INPUT_HEIGHT_PX, INPUT_WIDTH_PX = 256, 192
FOCAL_PX = 5000.0  # of the virtual camera, in pixels of the input
CAMERA_SIZE_M = 2.5
NUM_KEY_POINTS = 25
_PATCH_PX, _PATCH_PADDING_PX = 16, 2
_CELLS_DHW = (16, INPUT_HEIGHT_PX // _PATCH_PX, INPUT_WIDTH_PX // _PATCH_PX)
_BODY_CHANNELS = 512
_SHAPE, _CAMERA, _EXPRESSION, _JAW, _BODY = 0, 1, 2, 3, slice(6, None)  # task tokens; 4 and 5 are the hands'
_NUM_TASK_TOKENS = 6 + NUM_KEY_POINTS
_EPS = 1e-6  # of every layer norm


@dataclass(frozen=True)
class Size:
    """Shape of the encoder."""

    width: int
    depth: int
    num_heads: int


SIZES = {"s": Size(384, 12, 12), "b": Size(768, 12, 12), "l": Size(1024, 24, 16), "h": Size(1280, 32, 16)}


@dataclass(frozen=True)
class BodyParameters:
    """SMPLer-X's prediction for the person in each crop. Six-number rotations: `rotations.from_six_numbers`."""

    root_B6: Tensor
    body_BJ6: Tensor  # (B, 21, 6)
    jaw_B6: Tensor
    shape_BS: Tensor  # (B, 10)
    expression_BS: Tensor  # (B, 10)
    camera_B3: Tensor  # raw: x and y in metres, a logit of the distance

    def camera_translation(self) -> Tensor:
        """Position of the body in camera space, in metres, shape (B, 3)."""
        farthest_m = FOCAL_PX * CAMERA_SIZE_M / math.sqrt(INPUT_HEIGHT_PX * INPUT_WIDTH_PX)
        return torch.cat([self.camera_B3[:, :2], farthest_m * self.camera_B3[:, 2:].sigmoid()], dim=1)


class SmplerX(nn.Module):
    """The regressor; `size` is one of `SIZES`."""

    def __init__(self, size: str = "l") -> None:
        super().__init__()
        shape = SIZES[size]
        self.encoder = _Encoder(shape)
        self.body_position_net = _PositionNet(shape.width)
        self.body_regressor = _BodyRegressor(shape.width)
        self.face_regressor = _FaceRegressor(shape.width)

    def forward(self, crop_B3HW: Tensor) -> BodyParameters:
        """Parameters of the people in crops: RGB 0-1, shape (B, 3, 512, 384)."""
        small = nn.functional.interpolate(crop_B3HW, size=(INPUT_HEIGHT_PX, INPUT_WIDTH_PX))
        map_BCHW, token_BTC = self.encoder(small)
        cells_BK3 = self.body_position_net(map_BCHW)
        root_B6, body_BJ6 = self.body_regressor(token_BTC[:, _BODY], cells_BK3)
        return BodyParameters(
            root_B6=root_B6,
            body_BJ6=body_BJ6,
            jaw_B6=self.face_regressor.jaw_pose_out(token_BTC[:, _JAW]),
            shape_BS=self.body_regressor.shape_out(token_BTC[:, _SHAPE]),
            expression_BS=self.face_regressor.expr_out(token_BTC[:, _EXPRESSION]),
            camera_B3=self.body_regressor.cam_out(token_BTC[:, _CAMERA]),
        )


class _Encoder(nn.Module):
    """Vision transformer whose first 31 tokens are task tokens without a position."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        num_patches = _CELLS_DHW[1] * _CELLS_DHW[2]
        self.task_tokens = nn.Parameter(torch.zeros(1, _NUM_TASK_TOKENS, size.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, num_patches + 1, size.width))
        self.patch_embed = nn.ModuleDict(
            {"proj": nn.Conv2d(3, size.width, _PATCH_PX, stride=_PATCH_PX, padding=_PATCH_PADDING_PX)}
        )
        self.blocks = nn.ModuleList(_Block(size) for _ in range(size.depth))
        self.last_norm = nn.LayerNorm(size.width, eps=_EPS)

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        map_BCHW = self.patch_embed["proj"](image_B3HW)
        height, width = map_BCHW.shape[2:]
        # The first position was that of a class token; it is added to every patch.
        patch_BTC = map_BCHW.flatten(2).transpose(1, 2) + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        token_BTC = torch.cat([self.task_tokens.expand(len(patch_BTC), -1, -1), patch_BTC], dim=1)
        for block in self.blocks:
            token_BTC = block(token_BTC)
        token_BTC = self.last_norm(token_BTC)
        patch_BTC = token_BTC[:, _NUM_TASK_TOKENS:]
        return patch_BTC.transpose(1, 2).unflatten(2, (height, width)), token_BTC[:, :_NUM_TASK_TOKENS]


class _Block(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size.width, eps=_EPS)
        self.attn = _Attention(size)
        self.norm2 = nn.LayerNorm(size.width, eps=_EPS)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(size.width, 4 * size.width), "fc2": nn.Linear(4 * size.width, size.width)}
        )

    def forward(self, token_BTC: Tensor) -> Tensor:
        token_BTC = token_BTC + self.attn(self.norm1(token_BTC))
        hidden = nn.functional.gelu(self.mlp["fc1"](self.norm2(token_BTC)))
        return token_BTC + self.mlp["fc2"](hidden)


class _Attention(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.num_heads = size.num_heads
        self.qkv = nn.Linear(size.width, 3 * size.width)
        self.proj = nn.Linear(size.width, size.width)

    def forward(self, token_BTC: Tensor) -> Tensor:
        parts = self.qkv(token_BTC).unflatten(2, (3, self.num_heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class _PositionNet(nn.Module):
    """Key points (x, y, z) in cells: the mean of a softmax over a 16 x 16 x 12 heat map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(width, NUM_KEY_POINTS * _CELLS_DHW[0], 1))

    def forward(self, map_BCHW: Tensor) -> Tensor:
        logits = self.conv(map_BCHW).flatten(1).unflatten(1, (NUM_KEY_POINTS, -1))
        share_BKDHW = logits.softmax(dim=2).unflatten(2, _CELLS_DHW)
        axes = [torch.arange(size, dtype=share_BKDHW.dtype, device=share_BKDHW.device) for size in _CELLS_DHW]
        x = torch.einsum("bkdhw,w->bk", share_BKDHW, axes[2])
        y = torch.einsum("bkdhw,h->bk", share_BKDHW, axes[1])
        z = torch.einsum("bkdhw,d->bk", share_BKDHW, axes[0])
        return torch.stack([x, y, z], dim=2)


class _BodyRegressor(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        seen = NUM_KEY_POINTS * (_BODY_CHANNELS + 3)
        self.body_conv = nn.Sequential(nn.Linear(width, _BODY_CHANNELS))
        self.root_pose_out = nn.Sequential(nn.Linear(seen, 6))
        self.body_pose_out = nn.Sequential(nn.Linear(seen, 6 * NUM_BODY_JOINTS))
        self.shape_out = nn.Sequential(nn.Linear(width, NUM_DIRECTIONS))
        self.cam_out = nn.Sequential(nn.Linear(width, 3))

    def forward(self, token_BKC: Tensor, cells_BK3: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.cat([self.body_conv(token_BKC), cells_BK3], dim=2).flatten(1)
        return self.root_pose_out(seen), self.body_pose_out(seen).unflatten(1, (NUM_BODY_JOINTS, 6))


class _FaceRegressor(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.expr_out = nn.Sequential(nn.Linear(width, NUM_DIRECTIONS))
        self.jaw_pose_out = nn.Sequential(nn.Linear(width, 6))
