"""Body meshes from crops: the mesh at rest in camera space, and the 15 joints in the photo, for PhysiqueFrame.

Shape letters: B = crops, V = vertices, J = joints of the body model, K = the 15 joints of PhysiqueFrame's graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from paaplus.models.physiqueframe.body.crop import Crop
from paaplus.models.physiqueframe.body.rotations import from_six_numbers
from paaplus.models.physiqueframe.body.skinning import BodyModel, PosedBody
from paaplus.models.physiqueframe.body.smpler_x import (
    CROP_HEIGHT_PX,
    CROP_WIDTH_PX,
    FOCAL_PX,
    INPUT_HEIGHT_PX,
    INPUT_WIDTH_PX,
    BodyParameters,
    SmplerX,
)

# Of the body model: pelvis, hips, knees, ankles, neck, shoulders, elbows, wrists (left before right) ...
GRAPH_JOINTS = (0, 1, 2, 4, 5, 7, 8, 12, 16, 17, 18, 19, 20, 21)
# ... and the middle of these two vertices: left and right eye.
EYE_VERTICES = (9448, 9929)
NUM_GRAPH_JOINTS = len(GRAPH_JOINTS) + 1
_JAW_JOINT = 22
_CELLS_WIDTH, _CELLS_HEIGHT = 12, 16
_DEPTH_EPS_M = 1e-4


@dataclass(frozen=True, eq=False)
class BodyMesh:
    """One person's body as input of PhysiqueFrame."""

    vertices_V3: np.ndarray  # (10475, 3) float32: the body at rest in camera space, in metres, all signs reversed
    joints_K2: np.ndarray  # (15, 2) float32: x and y in pixels of the photo


class MeshRegressor:
    """Regresses body meshes with SMPLer-X and a body model."""

    def __init__(self, network: SmplerX, body: BodyModel, device: str = "cpu") -> None:
        self.network = network.to(device)
        self.body = body
        self.device = device

    @torch.no_grad()
    def __call__(self, crops: Sequence[Crop]) -> list[BodyMesh]:
        """One mesh per crop, in the same order."""
        if not crops:
            return []
        pixel_BHW3 = torch.from_numpy(np.stack([crop.pixel_HW3 for crop in crops])).to(self.device)
        on_device = self.network(pixel_BHW3.permute(0, 3, 1, 2).contiguous())
        parameters = BodyParameters(**{name: value.float().cpu() for name, value in vars(on_device).items()})
        vertices_BV3 = -resting_vertices(self.body, parameters)
        cells_BK2 = graph_cells(posed(self.body, parameters), parameters.camera_translation())
        crop_px_BK2 = cells_BK2 * torch.tensor([CROP_WIDTH_PX / _CELLS_WIDTH, CROP_HEIGHT_PX / _CELLS_HEIGHT])
        return [
            BodyMesh(vertices_V3.numpy(), crop.to_photo(joints_K2.numpy()).astype(np.float32))
            for crop, vertices_V3, joints_K2 in zip(crops, vertices_BV3, crop_px_BK2, strict=True)
        ]


def resting_vertices(body: BodyModel, parameters: BodyParameters) -> Tensor:
    """The body with its shape and expression in the rest pose, in camera space, shape (B, V, 3), metres."""
    rest = body.rest_rotations(len(parameters.shape_BS))
    vertices_BV3 = body.pose(parameters.shape_BS, parameters.expression_BS, rest).vertices_BV3
    return vertices_BV3 + parameters.camera_translation()[:, None]


def posed(body: BodyModel, parameters: BodyParameters) -> PosedBody:
    """The body in its pose with relaxed hands, which no joint of the graph depends on."""
    rotation_BJ33 = body.rest_rotations(len(parameters.shape_BS))
    rotation_BJ33[:, 0] = from_six_numbers(parameters.root_B6)
    body_J33 = from_six_numbers(parameters.body_BJ6.flatten(0, 1))
    rotation_BJ33[:, 1:_JAW_JOINT] = body_J33.unflatten(0, parameters.body_BJ6.shape[:2])
    rotation_BJ33[:, _JAW_JOINT] = from_six_numbers(parameters.jaw_B6)
    return body.pose(parameters.shape_BS, parameters.expression_BS, rotation_BJ33)


def graph_cells(body: PosedBody, translation_B3: Tensor) -> Tensor:
    """The 15 joints projected to the image, in cells of the 16 x 12 heat map (x, y), shape (B, 15, 2).

    The last joint is the mean of the two projected eyes, not the projection of their mean.
    """
    joints_BK2 = project(body.joints_BJ3[:, list(GRAPH_JOINTS)] + translation_B3[:, None])
    eyes_B22 = project(body.vertices_BV3[:, list(EYE_VERTICES)] + translation_B3[:, None])
    return torch.cat([joints_BK2, eyes_B22.mean(dim=1, keepdim=True)], dim=1)


def project(point_BK3: Tensor) -> Tensor:
    """Points in camera space projected to the image, in cells of the 16 x 12 heat map (x, y), shape (B, K, 2)."""
    projected_BK2 = point_BK3[..., :2] / (point_BK3[..., 2:] + _DEPTH_EPS_M) * FOCAL_PX
    middle_px = torch.tensor([INPUT_WIDTH_PX / 2, INPUT_HEIGHT_PX / 2])
    cells = torch.tensor([_CELLS_WIDTH / INPUT_WIDTH_PX, _CELLS_HEIGHT / INPUT_HEIGHT_PX])
    return (projected_BK2 + middle_px) * cells
