"""What the network is given beside the image: joints and meshes of a batch.

Shape letters: B = images, J = joints, M = cells of a heat map's side, V = points of a mesh.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from paaplus.models.physiqueframe.network.geometry import Grouping


@dataclass(frozen=True)
class Posture:
    """Where the joints of a batch's people are.

    Attributes:
        heatmap_BJMM: one map per joint, any positive scale; zeros for a joint out of frame.
        weight_BJ: 1, or 0 for a joint out of frame.
        adjacency_BJJ: bones, 0/1, symmetric; shape (J, J) for one skeleton.
        present_B: False for images without a person, whose posture then is not used; None: all have one.
    """

    heatmap_BJMM: Tensor
    weight_BJ: Tensor
    adjacency_BJJ: Tensor
    present_B: Tensor | None = None


@dataclass(frozen=True)
class Mesh:
    """The body meshes of a batch.

    Attributes:
        point_BV3: vertices, metres.
        grouping: their neighbours, if they were computed before (`geometry.collate`).
        present_B: False for images without a mesh, whose points then are not used; None: all have one.
    """

    point_BV3: Tensor
    grouping: Grouping | None = None
    present_B: Tensor | None = None
