"""A `BodyModel` by the package `smplx` (optional extra `body`, non-commercial licence: docs/licences.md).

Shape letters: B = bodies, J = joints, S = directions.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from paaplus.errors import Unavailable
from paaplus.models.physiqueframe.body.model_file import NUM_DIRECTIONS, NUM_JOINTS, read_model_file, write_clean_file
from paaplus.models.physiqueframe.body.skinning import PosedBody, rest_rotations


class SmplxPackageBody:
    """A body model of the user's file; the package reads a clean copy, never the file itself."""

    def __init__(self, path: Path) -> None:
        """Read and check the user's SMPL-X file.

        Raises:
            InvalidInput: the file cannot be read as plain arrays, or is not an SMPL-X file.
            Unavailable: `smplx` is not installed.
        """
        try:
            from smplx import SMPLXLayer
        except ImportError as error:
            raise Unavailable(f"the package smplx is not installed: pip install 'paaplus[body]' ({error})") from error
        data = read_model_file(path)
        self.digest = data.digest
        self._mean_hands_J3 = torch.from_numpy(data.mean_hands_J3)
        with tempfile.TemporaryDirectory() as folder:
            clean = Path(folder) / "SMPLX_NEUTRAL.npz"
            write_clean_file(path, clean)
            self._layer = SMPLXLayer(
                str(clean), num_betas=NUM_DIRECTIONS, num_expression_coeffs=NUM_DIRECTIONS, ext="npz"
            )
        self._layer.requires_grad_(False)

    def rest_rotations(self, num_bodies: int) -> Tensor:
        return rest_rotations(self._mean_hands_J3, num_bodies)

    @torch.no_grad()
    def pose(self, shape_BS: Tensor, expression_BS: Tensor, rotation_BJ33: Tensor) -> PosedBody:
        output = self._layer(
            betas=shape_BS,
            expression=expression_BS,
            global_orient=rotation_BJ33[:, :1],
            body_pose=rotation_BJ33[:, 1:22],
            jaw_pose=rotation_BJ33[:, 22:23],
            leye_pose=rotation_BJ33[:, 23:24],
            reye_pose=rotation_BJ33[:, 24:25],
            left_hand_pose=rotation_BJ33[:, 25:40],
            right_hand_pose=rotation_BJ33[:, 40:55],
        )
        return PosedBody(output.vertices, output.joints[:, :NUM_JOINTS])
