from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from paaplus.models.physiqueframe.body.model_file import BodyModelData
from paaplus.models.physiqueframe.body.rotations import from_axis_angle
from paaplus.models.physiqueframe.body.skinning import SkinnedBody


@pytest.fixture(scope="module")
def body(body_data: BodyModelData) -> SkinnedBody:
    return SkinnedBody(body_data)


def test_mesh_is_template_and_directions_when_nothing_is_turned(body: SkinnedBody, body_data: BodyModelData) -> None:
    shape, expression = torch.zeros(1, 10), torch.zeros(1, 10)
    shape[0, 3], expression[0, 1] = 2.0, -1.0
    posed = body.pose(shape, expression, torch.eye(3).repeat(1, 55, 1, 1))
    expected = (
        body_data.template_V3 + 2 * body_data.shape_directions_V3S[..., 3] - body_data.expression_directions_V3S[..., 1]
    )
    np.testing.assert_allclose(posed.vertices_BV3[0].numpy(), expected, atol=2e-6)


def test_rest_pose_is_upright_with_relaxed_hands(body: SkinnedBody) -> None:
    rest = body.rest_rotations(2)
    assert torch.equal(rest[:, :25], torch.eye(3).expand(2, 25, 3, 3))
    assert torch.equal(rest[0], rest[1])
    np.testing.assert_allclose(rest[0, 30].numpy(), from_axis_angle(torch.full((1, 3), 0.1))[0].numpy(), atol=1e-7)


def test_child_moves_with_its_parent_when_a_joint_is_turned(body: SkinnedBody) -> None:
    """Worked out by hand: a quarter turn of the left hip about z takes (x, y) of what hangs on it to (-y, x)."""
    rotation = torch.eye(3).repeat(1, 55, 1, 1)
    still = body.pose(torch.zeros(1, 10), torch.zeros(1, 10), rotation).joints_BJ3[0]
    rotation[0, 1] = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    moved = body.pose(torch.zeros(1, 10), torch.zeros(1, 10), rotation).joints_BJ3[0]
    hip, knee = still[1], still[4]
    x, y, z = knee - hip
    np.testing.assert_allclose(moved[4].numpy(), (hip + torch.stack([-y, x, z])).numpy(), atol=1e-6)
    np.testing.assert_array_equal(moved[2].numpy(), still[2].numpy())


def test_own_skinning_equals_the_package_when_pose_shape_and_face_are_random(
    body: SkinnedBody, model_file: Path
) -> None:
    pytest.importorskip("smplx", reason="the optional package smplx is not installed")
    from paaplus.models.physiqueframe.body.smplx_package import SmplxPackageBody

    package = SmplxPackageBody(model_file)
    generator = torch.Generator().manual_seed(0)
    rotation = from_axis_angle(torch.randn(3 * 55, 3, generator=generator)).unflatten(0, (3, 55))
    shape, expression = torch.randn(2, 3, 10, generator=generator)
    ours, theirs = body.pose(shape, expression, rotation), package.pose(shape, expression, rotation)
    np.testing.assert_allclose(ours.vertices_BV3.numpy(), theirs.vertices_BV3.numpy(), atol=5e-6)
    np.testing.assert_allclose(ours.joints_BJ3.numpy(), theirs.joints_BJ3.numpy(), atol=5e-6)
    assert package.digest == body.digest
    assert torch.equal(package.rest_rotations(1), body.rest_rotations(1))
