"""Translate the tensor names of the official checkpoint to this project's: one table, applied from top to bottom.

The official file also contains tensors that no score depends on, which are not loaded, and tensors that follow from the
sizes, which are recomputed.
"""

from __future__ import annotations

import re

# (pattern, replacement); all are applied to a name, in this order.
_RENAMES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^vit\.transformer\.resblocks\.(\d+)\.attn\.in_proj_", r"image_encoder.blocks.\1.attn.in_proj."),
        (r"^vit\.transformer\.resblocks\.", "image_encoder.blocks."),
        (r"^vit\.", "image_encoder."),
        (r"^adapter\.fc\.", "image_adapter.fc."),
        (r"^layernorm_x\.", "image_norm."),
        (r"^pam\.encoder_sample\.", "posture_encoder."),
        (r"^pam\.keypoint_head\.transformer\.decoder\.ref_point_head\.layers\.0\.",
         "posture_graph.decoder.ref_point_head.0."),
        (r"^pam\.keypoint_head\.transformer\.decoder\.ref_point_head\.layers\.1\.",
         "posture_graph.decoder.ref_point_head.2."),
        (r"^pam\.keypoint_head\.transformer\.(decoder\.layers\.\d+\.ffn1)\.conv\.", r"posture_graph.\1."),
        (r"^pam\.keypoint_head\.transformer\.", "posture_graph."),
        (r"^pam\.keypoint_head\.kpt_branch\.(\d+)\.mlp\.", r"posture_graph.point_heads.\1."),
        (r"^pam\.keypoint_head\.", "posture_graph."),
        (r"^groupnorm_pam\.", "posture_norm."),
        (r"^(pointmlp\..*\.net\d?)\.0\.", r"\1.linear."),
        (r"^(pointmlp\..*\.net\d?)\.1\.", r"\1.norm."),
        (r"^(pointmlp\..*)\.net\.", r"\1."),
        (r"^pointmlp\.embedding\.", "mesh_encoder.embedding."),
        (r"^pointmlp\.local_grouper_list\.(\d+)\.", r"mesh_encoder.stages.\1."),
        (r"^pointmlp\.pre_blocks_list\.(\d+)\.transfer\.", r"mesh_encoder.stages.\1.transfer."),
        (r"^pointmlp\.pre_blocks_list\.(\d+)\.operation\.", r"mesh_encoder.stages.\1.before."),
        (r"^pointmlp\.pos_blocks_list\.(\d+)\.operation\.", r"mesh_encoder.stages.\1.after."),
        (r"^groupnorm_mf\.", "mesh_norm."),
        (r"^(appearance|health|posture)_classifier\.", r"heads.\1."),
    )
)  # fmt: skip

# The ImageNet classifier of the backbone, and a transformer encoder that the published code never calls.
_UNUSED = re.compile(r"^pam\.(encoder_sample\.head|keypoint_head\.transformer\.encoder)\.")

_DERIVED = ("relative_coords_table", "relative_position_index", "attn_mask")

# Prefixes that training code adds to names.
_PREFIX = re.compile(r"^(module\.|model\.|_orig_mod\.)+")


def without_prefix(name: str) -> str:
    """A tensor's name without `module.` (data parallel) and similar prefixes."""
    return _PREFIX.sub("", name)


def own_name(official: str) -> str:
    """This project's name of an official tensor; this project's own names do not change."""
    for pattern, replacement in _RENAMES:
        official = pattern.sub(replacement, official)
    return official


def is_unused(official: str) -> bool:
    """True if no score depends on an official tensor."""
    return _UNUSED.match(official) is not None


def is_derived(name: str) -> bool:
    """True if a tensor follows from the window sizes."""
    return name.rsplit(".", 1)[-1] in _DERIVED
