from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paaplus.models.physiqueframe.body.model_file import BodyModelData, read_model_file

PARENTS = [-1, 0, 0, 0, *range(1, 10), 9, 9, *range(12, 15), 16, 17, 18, 19, 15, 15, 15, 20, 25, 26, 20, 28, 29, 20,
           31, 32, 20, 34, 35, 20, 37, 38, 21, 40, 41, 21, 43, 44, 21, 46, 47, 21, 49, 50, 21, 52, 53]  # fmt: skip


def synthetic_arrays(num_directions: int = 20, seed: int = 0) -> dict[str, np.ndarray]:
    """Numbers in the layout of an SMPL-X file: no body, every joint is the mean of four points, all else by chance."""
    rng = np.random.default_rng(seed)
    joint_regressor = np.zeros((55, 10_475), np.float32)
    for joint in range(55):
        joint_regressor[joint, rng.choice(10_475, 4, replace=False)] = 0.25
    weights = np.zeros((10_475, 55), np.float32)
    first, second = rng.integers(0, 55, (2, 10_475))
    np.add.at(weights, (np.arange(10_475), first), 0.75)
    np.add.at(weights, (np.arange(10_475), second), 0.25)
    pose_directions = np.zeros((10_475, 3, 486), np.float32)
    pose_directions[::97] = 0.01 * rng.normal(size=(len(pose_directions[::97]), 3, 486))
    return {
        "v_template": rng.normal(0, 0.4, (10_475, 3)).astype(np.float32),
        "shapedirs": (0.01 * rng.normal(size=(10_475, 3, num_directions))).astype(np.float32),
        "posedirs": pose_directions,
        "J_regressor": joint_regressor,
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], range(55)], np.int64),
        "f": rng.integers(0, 10_475, (20_908, 3)),
        "hands_meanl": np.full(45, 0.1, np.float32),
        "hands_meanr": np.full(45, -0.1, np.float32),
        "hands_componentsl": np.eye(45, dtype=np.float32),
        "hands_componentsr": np.eye(45, dtype=np.float32),
        "lmk_faces_idx": np.arange(51),
        "lmk_bary_coords": np.full((51, 3), 1 / 3, np.float32),
        "dynamic_lmk_faces_idx": np.zeros((79, 17), np.int64),
        "dynamic_lmk_bary_coords": np.full((79, 17, 3), 1 / 3, np.float32),
    }


@pytest.fixture(scope="session")
def arrays() -> dict[str, np.ndarray]:
    return synthetic_arrays()


@pytest.fixture(scope="session")
def model_file(arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the user has it: with members that are pickled objects."""
    path = tmp_path_factory.mktemp("body") / "SMPLX_NEUTRAL.npz"
    np.savez(path, **arrays, joint2num=np.array({"Pelvis": 0}, object), allow_pickle=True)
    return path


@pytest.fixture(scope="session")
def body_data(model_file: Path) -> BodyModelData:
    return read_model_file(model_file)
