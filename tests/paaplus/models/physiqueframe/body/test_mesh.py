from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paaplus.models.physiqueframe.body.crop import Crop
from paaplus.models.physiqueframe.body.mesh import MeshRegressor, project
from paaplus.models.physiqueframe.body.model_file import BodyModelData
from paaplus.models.physiqueframe.body.skinning import SkinnedBody
from paaplus.models.physiqueframe.body.smpler_x import BodyParameters

UPRIGHT = torch.tensor([1.0, 0, 0, 1, 0, 0])


class _Regressor(nn.Module):
    """Says of every crop: nobody bends, 28.19 m away; the brighter the crop, the farther right."""

    def forward(self, crop_B3HW: Tensor) -> BodyParameters:
        num = len(crop_B3HW)
        camera = torch.stack([crop_B3HW.mean((1, 2, 3)), torch.zeros(num), torch.zeros(num)], dim=1)
        zero = torch.zeros(num, 10)
        turns = UPRIGHT.expand(num, 6)
        return BodyParameters(turns, turns[:, None].expand(num, 21, 6), turns, zero, zero, camera)


def test_points_on_the_axis_are_seen_in_the_middle() -> None:
    cells = project(torch.tensor([[[0.0, 0.0, 20.0], [0.4, -0.8, 20.0]]]))[0]
    # focal 5000 px: 0.4 m at 20 m are 100 px of 192, so 6.25 cells of 12; -0.8 m are -200 px of 256, -12.5 cells of 16
    assert cells.tolist() == pytest.approx(np.array([[6.0, 8.0], [12.25, -4.5]]), abs=1e-3)


def test_mesh_and_joints_are_worked_out_when_the_parameters_are_known(body_data: BodyModelData) -> None:
    body = SkinnedBody(body_data)
    regressor = MeshRegressor(_Regressor(), body)  # type: ignore[arg-type]  # a stand-in for SMPLer-X
    crops = [
        Crop(np.full((512, 384, 3), level, np.float32), np.array([0.5, 0.5]), np.array([10.0, 20.0]))
        for level in (0.0, 0.25)
    ]
    left, right = regressor(crops)
    rest = body.pose(torch.zeros(1, 10), torch.zeros(1, 10), body.rest_rotations(1))
    np.testing.assert_allclose(left.vertices_V3, -(rest.vertices_BV3[0].numpy() + np.array([0, 0, 28.19])), atol=5e-3)
    np.testing.assert_allclose(left.vertices_V3[:, 0] - right.vertices_V3[:, 0], 0.25, atol=1e-6)
    pelvis = rest.joints_BJ3[0, 0].numpy()
    seen_px = pelvis[:2] / (pelvis[2] + 28.19) * 5000 + [96, 128]  # in the 192 x 256 input
    np.testing.assert_allclose(left.joints_K2[0], 0.5 * 2 * seen_px + [10, 20], atol=0.05)
    assert left.joints_K2.shape == (15, 2)


def test_there_are_no_meshes_when_there_are_no_crops(body_data: BodyModelData) -> None:
    assert MeshRegressor(_Regressor(), SkinnedBody(body_data))([]) == []  # type: ignore[arg-type]
