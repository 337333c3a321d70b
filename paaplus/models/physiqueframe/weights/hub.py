"""Initial weights of the two image encoders for training, from timm's hub: CLIP ViT-L/14 and SwinV2-B.

Two short tables translate the names of timm's tensors. Weights are downloaded only when these functions are called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.network.frame import PhysiqueFrame
from paaplus.models.physiqueframe.weights.official_names import is_derived
from paaplus.models.timm_backbone import build_network

CLIP_NAME = "vit_large_patch14_clip_quickgelu_224.openai"  # the erf GELU of other variants gives other features
SWIN_NAME = "swinv2_base_window12to16_192to256.ms_in22k_ft_in1k"

_CLIP_RENAMES = (
    (r"^cls_token$", "class_embedding"),
    (r"^pos_embed$", "positional_embedding"),
    (r"^patch_embed\.proj\.", "conv1."),
    (r"^norm_pre\.", "ln_pre."),
    (r"^(fc_)?norm\.", "ln_post."),
    (r"^head\.weight$", "proj"),
    (r"\.norm([12])\.", r".ln_\1."),
    (r"\.attn\.qkv\.", ".attn.in_proj."),
    (r"\.attn\.proj\.", ".attn.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)


def load_hub_encoders(network: PhysiqueFrame) -> PhysiqueFrame:
    """Copy the hub's weights into the image and posture encoders; the other weights are not changed.

    Raises:
        InvalidInput: the network does not have the official sizes.
        Unavailable: the weights are not in the local cache and the hub cannot be reached.
    """
    load_clip(network.image_encoder, build_network(CLIP_NAME, pretrained=True, num_classes=768).state_dict())
    load_swin(network.posture_encoder, build_network(SWIN_NAME, pretrained=True).state_dict())
    return network


def load_clip(encoder: nn.Module, timm_state: Mapping[str, Tensor]) -> None:
    """Copy a timm CLIP tower's weights.

    Raises:
        InvalidInput: tensors are missing, left over, or of another shape.
    """
    state = {_renamed(name, _CLIP_RENAMES): tensor for name, tensor in timm_state.items() if name != "head.bias"}
    if "proj" in state:
        state["proj"] = state["proj"].T
    _load(encoder, state, ())


def load_swin(encoder: nn.Module, timm_state: Mapping[str, Tensor]) -> None:
    """Copy a timm SwinV2's weights without its classifier; the layer `upsample` keeps its initial weights.

    Raises:
        InvalidInput: tensors are missing, left over, or of another shape.
    """
    state = {
        # timm has the step to the next resolution in the stage after it.
        re.sub(r"^layers\.(\d+)\.downsample\.", lambda m: f"layers.{int(m[1]) - 1}.downsample.", name): tensor
        for name, tensor in timm_state.items()
        if not is_derived(name) and not name.startswith("head.") and not name.endswith("attn.k_bias")
    }
    _load(encoder, state, ("upsample.",))


def _load(encoder: nn.Module, state: Mapping[str, Tensor], kept: tuple[str, ...]) -> None:
    own = encoder.state_dict()
    wanted = {name for name in own if not name.startswith(kept)}
    misshaped = [name for name in wanted & set(state) if state[name].numel() != own[name].numel()]
    if wanted != set(state) or misshaped:
        raise InvalidInput(
            f"weights do not fit: missing {sorted(wanted - set(state))[:3]}, "
            f"unexpected {sorted(set(state) - wanted)[:3]}, of another shape {misshaped[:3]}"
        )
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor.reshape(own[name].shape))


def _renamed(name: str, renames: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name
