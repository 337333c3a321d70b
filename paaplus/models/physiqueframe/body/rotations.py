"""Rotation matrices from the two forms that body models and regressors use.

Shape letters: N = rotations.
"""

from __future__ import annotations

import torch
from torch import Tensor


def from_six_numbers(six_N6: Tensor) -> Tensor:
    """Rotation matrices (N, 3, 3) of the continuous six-number form, by Gram-Schmidt.

    The six numbers are a 3 x 2 matrix, row by row, whose columns become the first two columns of the rotation.

    Source:
        Zhou et al., On the Continuity of Rotation Representations in Neural Networks (arXiv:1812.07035).
    """
    columns_N32 = six_N6.reshape(-1, 3, 2)
    first_N3 = torch.nn.functional.normalize(columns_N32[..., 0], dim=-1)
    second_N3 = columns_N32[..., 1]
    second_N3 = second_N3 - (first_N3 * second_N3).sum(-1, keepdim=True) * first_N3
    second_N3 = torch.nn.functional.normalize(second_N3, dim=-1)
    return torch.stack([first_N3, second_N3, torch.linalg.cross(first_N3, second_N3)], dim=-1)


def from_axis_angle(axis_angle_N3: Tensor) -> Tensor:
    """Rotation matrices (N, 3, 3) of rotation vectors in radians, by the matrix exponential of the cross product."""
    x, y, z = axis_angle_N3.unbind(-1)
    zero = torch.zeros_like(x)
    cross_N33 = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(-1, 3, 3)
    return torch.linalg.matrix_exp(cross_N33)
