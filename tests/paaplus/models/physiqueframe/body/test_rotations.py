from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from paaplus.models.physiqueframe.body.rotations import from_axis_angle, from_six_numbers


def test_axis_angle_equals_scipy_when_small_large_and_zero() -> None:
    vectors = np.concatenate([np.random.default_rng(0).normal(size=(20, 3)) * 2, np.zeros((1, 3)), [[1e-9, 0, 0]]])
    expected = Rotation.from_rotvec(vectors).as_matrix()
    np.testing.assert_allclose(from_axis_angle(torch.from_numpy(vectors)).numpy(), expected, atol=1e-12)


def test_six_numbers_are_two_columns_when_they_come_from_a_rotation() -> None:
    matrices = Rotation.random(10, random_state=0).as_matrix()
    six = torch.from_numpy(matrices[:, :, :2].reshape(10, 6))
    np.testing.assert_allclose(from_six_numbers(six).numpy(), matrices, atol=1e-12)


def test_six_numbers_give_a_rotation_when_they_are_none() -> None:
    # columns (2, 0, 0) and (1, 3, 0): x stays, y loses its part along x, z = x cross y
    given = from_six_numbers(torch.tensor([[2.0, 1.0, 0.0, 3.0, 0.0, 0.0]]))
    np.testing.assert_allclose(given[0].numpy(), np.eye(3), atol=1e-7)
