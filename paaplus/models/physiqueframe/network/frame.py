"""The PhysiqueFrame network: three branches, the user's preference, and three heads.

Shape letters: B = images, S = pixels of a side, J = joints, M = cells of a heat map's side, V = points of a mesh,
D = features (image, posture, mesh), F = preference dims, A = aspects.
Source: "PAA+" (CVPR 2025); sizes and order as in its published checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.inputs import MISREAD_BONES, adjacency
from paaplus.models.physiqueframe.network.body_batch import Mesh, Posture
from paaplus.models.physiqueframe.network.clip_vit import ClipAdapter, ClipVit
from paaplus.models.physiqueframe.network.config import ASPECTS, FrameConfig
from paaplus.models.physiqueframe.network.cpu_linear import can_pack, pack_linears
from paaplus.models.physiqueframe.network.geometry import Grouping, collate, mesh_neighbours
from paaplus.models.physiqueframe.network.missing_body import mesh_of_zeros, posture_at_zero
from paaplus.models.physiqueframe.network.point_encoder import PointEncoder
from paaplus.models.physiqueframe.network.pose_graph import PoseGraph
from paaplus.models.physiqueframe.network.swin_v2 import SwinV2

SCORE_SCALE = 10.0
BRANCHES = ("image", "posture", "mesh")

__all__ = ["BRANCHES", "FrameOutput", "Mesh", "PhysiqueFrame", "Posture"]


@dataclass(frozen=True)
class FrameOutput:
    """Scores, features and used branches of a batch.

    Attributes:
        score_BA: 0-10, in the order of `ASPECTS`.
        feature_BD: image, posture and mesh features; a branch that was not used has its neutral value.
        branches: per image the names of the branches that were used; fewer than three make a degraded score.
    """

    score_BA: Tensor
    feature_BD: Tensor
    branches: tuple[tuple[str, ...], ...]


class PhysiqueFrame(nn.Module):
    """Scores of appearance, health and posture from image, posture, mesh and preference.

    Training needs two images per batch or more (batch normalisation), and a frozen image encoder
    (`freeze_image_encoder`).
    """

    def __init__(self, config: FrameConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or FrameConfig()
        groups = config.num_norm_groups
        self.image_encoder = ClipVit(config.vit, config.image_size)
        self.image_adapter = ClipAdapter(config.vit.out_dim, config.vit.adapter_dim, config.vit.adapter_ratio)
        self.image_norm = nn.LayerNorm(config.vit.out_dim)
        self.posture_encoder = SwinV2(config.swin, config.image_size)
        self.posture_graph = PoseGraph(
            config.graph, config.swin.out_dim, self.posture_encoder.out_side, config.heatmap_size
        )
        self.posture_norm = nn.GroupNorm(groups, config.graph.dim)
        self.mesh_encoder = PointEncoder(config.points)
        self.mesh_norm = nn.GroupNorm(groups, config.points.out_dim)
        self.heads = nn.ModuleDict({aspect: _head(config) for aspect in ASPECTS})

    def forward(
        self, image: Tensor, preference_BF: Tensor, posture: Posture | None = None, mesh: Mesh | None = None
    ) -> FrameOutput:
        """Scores of a batch.

        Args:
            image: pixels normalised with ImageNet's mean and deviation, shape (B, 3, S, S).
            preference_BF: each user's preference values, 0-1; 0.5 is neutral.
            posture: joints; None: no image has any.
            mesh: body meshes; None: no image has one.

        Raises:
            InvalidInput: a shape does not match the configuration.
        """
        feature_BD = self.features(image, posture, mesh)
        branches = _used_branches(len(image), posture, mesh)
        return FrameOutput(self.score(feature_BD, preference_BF), feature_BD, branches)

    def features(self, image: Tensor, posture: Posture | None = None, mesh: Mesh | None = None) -> Tensor:
        """The features of image, posture and mesh, shape (B, D), which are the same for all users."""
        self._check(image, posture, mesh)
        if self.config.compatibility.zero_missing_body:
            posture, mesh = posture_at_zero(posture, image, self.config), mesh_of_zeros(mesh, image)
        parts = (
            self.image_features(image),
            self._posture_or_neutral(image, posture),
            self._mesh_or_neutral(image, mesh),
        )
        return torch.cat(parts, 1)

    def score(self, feature_BD: Tensor, preference_BF: Tensor) -> Tensor:
        """Scores from features, 0-10, shape (B, A)."""
        input_BI = torch.cat([feature_BD, preference_BF], 1)
        return SCORE_SCALE * torch.cat([self.heads[aspect](input_BI) for aspect in ASPECTS], 1).sigmoid()

    def image_features(self, image: Tensor) -> Tensor:
        return self.image_norm(self.image_adapter(self.image_encoder(image)))

    def posture_features(self, image: Tensor, posture: Posture) -> Tensor:
        """The maximum of each channel over joints and layers, normalised; hidden joints are included."""
        weight_BJ, adjacency_BJJ = posture.weight_BJ, posture.adjacency_BJJ
        if self.config.compatibility.leak_first_sample_mask:
            weight_BJ = weight_BJ * weight_BJ[:1]
        if self.config.compatibility.misread_skeleton:
            adjacency_BJJ = adjacency(MISREAD_BONES, self.config.num_joints).to(weight_BJ)
        graph = self.posture_graph(self.posture_encoder(image), posture.heatmap_BJMM, weight_BJ, adjacency_BJJ)
        return self.posture_norm(graph.state_LBJD.amax((0, 2)))

    def mesh_features(self, mesh: Mesh) -> Tensor:
        grouping = self.group(mesh.point_BV3) if mesh.grouping is None else mesh.grouping
        return self.mesh_norm(self.mesh_encoder(mesh.point_BV3, grouping))

    def group(self, point_BV3: Tensor) -> Grouping:
        """Compute the neighbours of a batch of meshes."""
        points, rounded = self.config.points, self.config.compatibility.rounded_neighbours
        grouping = collate(
            [
                mesh_neighbours(point_V3, len(points.expansions), points.num_neighbours, rounded)
                for point_V3 in point_BV3.detach().cpu().numpy()
            ]
        )
        return [(anchor.to(point_BV3.device), neighbour.to(point_BV3.device)) for anchor, neighbour in grouping]

    def freeze_image_encoder(self) -> PhysiqueFrame:
        """Exclude CLIP's weights from training, as in the published training."""
        self.image_encoder.requires_grad_(False)
        return self

    def pack_for_cpu(self) -> PhysiqueFrame:
        """Pack the weights of the two image encoders for fast scoring on a CPU; scores are the same to 1e-5.

        Afterwards the network cannot be saved or trained. Does nothing without oneDNN.
        """
        if can_pack():
            pack_linears(self.image_encoder, self.image_encoder.positional_embedding.shape[0])
            pack_linears(self.posture_encoder, self.posture_encoder.out_side**2)
        return self

    def _posture_or_neutral(self, image: Tensor, posture: Posture | None) -> Tensor:
        if posture is None:
            return self.posture_norm.bias.expand(len(image), -1)
        return _where_present(self.posture_features(image, posture), posture.present_B, self.posture_norm.bias)

    def _mesh_or_neutral(self, image: Tensor, mesh: Mesh | None) -> Tensor:
        if mesh is None:
            return self.mesh_norm.bias.expand(len(image), -1)
        return _where_present(self.mesh_features(mesh), mesh.present_B, self.mesh_norm.bias)

    def _check(self, image: Tensor, posture: Posture | None, mesh: Mesh | None) -> None:
        config, B = self.config, len(image)
        side, joints, cells = config.image_size, config.num_joints, config.heatmap_size
        wanted: dict[str, tuple[Tensor, tuple[int, ...]]] = {"image": (image, (B, 3, side, side))}
        if posture is not None:
            wanted["heat maps"] = (posture.heatmap_BJMM, (B, joints, cells, cells))
            wanted["joint weights"] = (posture.weight_BJ, (B, joints))
            batch = (B,) if posture.adjacency_BJJ.ndim == 3 else ()
            wanted["adjacency"] = (posture.adjacency_BJJ, (*batch, joints, joints))
        if mesh is not None:
            wanted["mesh"] = (mesh.point_BV3, (B, mesh.point_BV3.shape[1], 3))
        for name, (tensor, shape) in wanted.items():
            if tuple(tensor.shape) != shape:
                raise InvalidInput(f"{name} of shape {tuple(tensor.shape)}, not {shape}")


def _head(config: FrameConfig) -> nn.Sequential:
    first, second = config.head_dims
    return nn.Sequential(
        nn.Linear(config.feature_dim + config.preference_dim, first),
        nn.BatchNorm1d(first),
        nn.ReLU(),
        nn.Dropout(config.head_dropout),
        nn.Linear(first, second),
        nn.BatchNorm1d(second),
        nn.ReLU(),
        nn.Dropout(config.head_dropout),
        nn.Linear(second, 1),
    )


def _where_present(feature_BD: Tensor, present_B: Tensor | None, neutral_D: Tensor) -> Tensor:
    return feature_BD if present_B is None else torch.where(present_B[:, None], feature_BD, neutral_D)


def _used_branches(num_images: int, posture: Posture | None, mesh: Mesh | None) -> tuple[tuple[str, ...], ...]:
    def flags(part: Posture | Mesh | None) -> list[bool]:
        if part is None:
            return [False] * num_images
        return [True] * num_images if part.present_B is None else part.present_B.tolist()

    used = zip([True] * num_images, flags(posture), flags(mesh), strict=True)
    return tuple(tuple(name for name, is_used in zip(BRANCHES, row, strict=True) if is_used) for row in used)
