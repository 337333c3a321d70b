"""The network's inputs besides the image: joints and meshes of a batch.

Shape letters: B = images, J = joints, M = cells of a heat map's side, V = points of a mesh.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from paaplus.models.physiqueframe.network.geometry import Grouping


@dataclass(frozen=True)
class Posture:
    """The joints of a batch's people.

    Attributes:
        heatmap_BJMM: one map per joint, any positive scale; zeros for a joint outside the image.
        weight_BJ: 1, or 0 for a joint outside the image.
        adjacency_BJJ: bones, 0/1, symmetric; shape (J, J) if all images have the same skeleton.
        present_B: False for an image without a person, whose posture is not used; None: all images have one.
    """

    heatmap_BJMM: Tensor
    weight_BJ: Tensor
    adjacency_BJJ: Tensor
    present_B: Tensor | None = None


@dataclass(frozen=True)
class Mesh:
    """The body meshes of a batch.

    Attributes:
        point_BV3: vertices in metres.
        grouping: their neighbours (`geometry.collate`); None: not computed yet.
        present_B: False for an image without a mesh, whose points are not used; None: all images have one.
    """

    point_BV3: Tensor
    grouping: Grouping | None = None
    present_B: Tensor | None = None
