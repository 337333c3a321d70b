"""Body meshes from shape, expression and joint rotations: linear blend skinning with the arrays of SMPL-X.

This code replaces the package `smplx`; a test shows that both give the same meshes.

Shape letters: B = bodies, V = vertices, J = joints, S = directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from paaplus.models.physiqueframe.body.model_file import NUM_HAND_JOINTS, NUM_JOINTS, BodyModelData
from paaplus.models.physiqueframe.body.rotations import from_axis_angle

NUM_BODY_JOINTS = 21  # root, these, jaw, two eyes, two hands: 55


@dataclass(frozen=True)
class PosedBody:
    """A posed mesh in metres, with y up as in the body model."""

    vertices_BV3: Tensor
    joints_BJ3: Tensor


class BodyModel(Protocol):
    """Makes meshes from the parameters that a regressor predicts."""

    @property
    def digest(self) -> str:
        """Identifies everything that a mesh depends on besides its parameters."""

    def rest_rotations(self, num_bodies: int) -> Tensor:
        """Rotations of the model's rest pose, (B, J, 3, 3): identity, and relaxed hands."""

    def pose(self, shape_BS: Tensor, expression_BS: Tensor, rotation_BJ33: Tensor) -> PosedBody:
        """The mesh of bodies with 10 shape and 10 expression coefficients each and a rotation for every joint."""


def rest_rotations(mean_hands_J3: Tensor, num_bodies: int) -> Tensor:
    """Identity for every joint but the hands', which take their mean pose; shape (B, 55, 3, 3)."""
    rotation_J33 = torch.eye(3).repeat(NUM_JOINTS, 1, 1)
    rotation_J33[-2 * NUM_HAND_JOINTS :] = from_axis_angle(mean_hands_J3)
    return rotation_J33.expand(num_bodies, -1, -1, -1).clone()


class SkinnedBody:
    """A `BodyModel` by linear blend skinning.

    Source:
        Pavlakos et al., Expressive Body Capture: 3D Hands, Face, and Body from a Single Image (arXiv:1904.05866),
        with the skinning of SMPL (Loper et al., 2015).
    """

    def __init__(self, data: BodyModelData) -> None:
        self.digest = data.digest
        self._template_V3 = torch.from_numpy(data.template_V3)
        self._shape_V3S = torch.from_numpy(data.shape_directions_V3S)
        self._expression_V3S = torch.from_numpy(data.expression_directions_V3S)
        self._pose_V3P = torch.from_numpy(data.pose_directions_V3P)
        self._regressor_JV = torch.from_numpy(data.joint_regressor_JV)
        self._skinning_VJ = torch.from_numpy(data.skinning_VJ)
        self._parents = [int(parent) for parent in data.parent_J]
        self._mean_hands_J3 = torch.from_numpy(data.mean_hands_J3)

    def rest_rotations(self, num_bodies: int) -> Tensor:
        return rest_rotations(self._mean_hands_J3, num_bodies)

    @torch.no_grad()
    def pose(self, shape_BS: Tensor, expression_BS: Tensor, rotation_BJ33: Tensor) -> PosedBody:
        shaped_BV3 = self._template_V3 + torch.einsum("vcs,bs->bvc", self._shape_V3S, shape_BS)
        shaped_BV3 = shaped_BV3 + torch.einsum("vcs,bs->bvc", self._expression_V3S, expression_BS)
        rest_joints_BJ3 = torch.einsum("jv,bvc->bjc", self._regressor_JV, shaped_BV3)
        bend_BP = (rotation_BJ33[:, 1:] - torch.eye(3)).flatten(1)
        corrected_BV3 = shaped_BV3 + torch.einsum("vcp,bp->bvc", self._pose_V3P, bend_BP)
        joints_BJ3, offset_BJ3, world_BJ33 = self._chain(rest_joints_BJ3, rotation_BJ33)
        blended_BV33 = torch.einsum("vj,bjrc->bvrc", self._skinning_VJ, world_BJ33)
        moved_BV3 = torch.einsum("vj,bjc->bvc", self._skinning_VJ, offset_BJ3)
        return PosedBody(torch.einsum("bvrc,bvc->bvr", blended_BV33, corrected_BV3) + moved_BV3, joints_BJ3)

    def _chain(self, rest_BJ3: Tensor, rotation_BJ33: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Joint positions along the kinematic tree, and offset and matrix of each joint's `x -> world @ x + offset`."""
        place, world = [rest_BJ3[:, 0]], [rotation_BJ33[:, 0]]
        for joint, parent in enumerate(self._parents[1:], start=1):
            bone_B3 = rest_BJ3[:, joint] - rest_BJ3[:, parent]
            place.append(place[parent] + torch.einsum("brc,bc->br", world[parent], bone_B3))
            world.append(world[parent] @ rotation_BJ33[:, joint])
        joints_BJ3, world_BJ33 = torch.stack(place, dim=1), torch.stack(world, dim=1)
        return joints_BJ3, joints_BJ3 - torch.einsum("bjrc,bjc->bjr", world_BJ33, rest_BJ3), world_BJ33
