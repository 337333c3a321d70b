"""The published code's inputs for a photograph without a person: `Compatibility.zero_missing_body`.

Shape letters: B = images, J = joints, V = points.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from paaplus.models.physiqueframe.inputs import adjacency, heatmaps
from paaplus.models.physiqueframe.network.body_batch import Mesh, Posture
from paaplus.models.physiqueframe.network.config import FrameConfig

NUM_VERTICES = 10_475  # of SMPL-X


def posture_at_zero(posture: Posture | None, image: Tensor, config: FrameConfig) -> Posture:
    """The posture with all joints at pixel (0, 0) and weight 1 for images without a person."""
    spots_JMM, weight_J = heatmaps(np.zeros((config.num_joints, 2)), config.image_size, config.heatmap_size)
    spot_BJMM = torch.from_numpy(spots_JMM).to(image.device).expand(len(image), -1, -1, -1)
    weight_BJ = torch.from_numpy(weight_J).to(image.device).expand(len(image), -1)
    if posture is None:
        return Posture(spot_BJMM, weight_BJ, adjacency(num_joints=config.num_joints).to(image.device))
    if posture.present_B is None:
        return posture
    present_B = posture.present_B
    return Posture(
        torch.where(present_B[:, None, None, None], posture.heatmap_BJMM, spot_BJMM),
        torch.where(present_B[:, None], posture.weight_BJ, weight_BJ),
        posture.adjacency_BJJ,
    )


def mesh_of_zeros(mesh: Mesh | None, image: Tensor) -> Mesh:
    """The mesh with all points at the origin for images without a person."""
    if mesh is None:
        return Mesh(torch.zeros(len(image), NUM_VERTICES, 3, device=image.device))
    if mesh.present_B is None:
        return mesh
    return replace(mesh, point_BV3=torch.where(mesh.present_B[:, None, None], mesh.point_BV3, 0.0), present_B=None)
