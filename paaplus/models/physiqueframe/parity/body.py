"""Compare the body part with the reference on a parity fixture: the largest difference of every array.

Shape letters: B = crops, N = numbers.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from paaplus.models.physiqueframe.body.checkpoint import build_smpler_x
from paaplus.models.physiqueframe.body.mesh import graph_cells, posed, resting_vertices
from paaplus.models.physiqueframe.body.model_file import read_model_file
from paaplus.models.physiqueframe.body.rotations import from_axis_angle, from_six_numbers
from paaplus.models.physiqueframe.body.skinning import NUM_BODY_JOINTS, BodyModel, SkinnedBody
from paaplus.models.physiqueframe.body.smpler_x import BodyParameters, SmplerX

EXPECTED_FILE = "smplerx_s_expected.npz"
# The number of threads changes the reference by 6e-6; at the vertices' distance of 34 m, float32 has steps of 4e-6 m.
TOLERANCE = {
    "root_6d": 2e-5, "body_6d": 2e-5, "shape": 2e-5, "expr": 2e-5, "jaw_6d": 2e-5, "cam_trans": 2e-5,
    "task_tokens": 5e-5, "feat_slice": 5e-5, "body_joint_img": 5e-5, "joint_proj": 5e-5,
    "root_pose": 1e-4, "body_pose": 1e-4, "jaw_pose": 1e-4,
    "zero_pose_verts_slice": 5e-5, "zero_pose_verts_mean": 5e-5, "posed_verts_slice": 5e-5,
}  # fmt: skip
_VERTEX_STEP = 25
_GRAPH_ROWS = (*range(14), 22, 23)


def smplerx_parity(fixture: Path) -> dict[str, dict[str, float]]:
    """Largest difference and tolerance of every array of `smplerx_s_expected.npz`.

    Args:
        fixture: folder with `recipe.py`, `synthetic_smplx.py` and the expected arrays.

    Returns:
        `{array: {"max_abs_diff": ..., "tolerance": ..., "ok": 0.0 or 1.0}}`.
    """
    recipe = _load(fixture / "recipe.py")
    with np.load(fixture / EXPECTED_FILE, allow_pickle=False) as content:
        expected = {name: torch.from_numpy(content[name]) for name in content.files}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "SMPLX_NEUTRAL.npz"
        _load(fixture / "synthetic_smplx.py").make(str(path), 20)
        data = read_model_file(path)
    model, mean_hands_J3 = SkinnedBody(data), torch.from_numpy(data.mean_hands_J3)
    network = _network(fixture, recipe)
    noise = recipe.u01("input.smplerx", (2, 3, 32, 24)).repeat(16, axis=2).repeat(16, axis=3).astype(np.float32)
    with torch.no_grad():
        ours = _outputs(network, model, mean_hands_J3, torch.from_numpy(noise), expected)
    report = {}
    for name, tolerance in TOLERANCE.items():
        difference = float((ours[name].double() - _comparable(name, expected[name]).double()).abs().max())
        report[name] = {"max_abs_diff": difference, "tolerance": tolerance, "ok": float(difference <= tolerance)}
    return report


def _network(fixture: Path, recipe: ModuleType) -> SmplerX:
    """SMPLer-X of size S with the recipe's weights."""
    keys = json.loads((fixture / "smplerx_state_dict_keys.json").read_text())["s"]
    state = {
        name: torch.from_numpy(np.asarray(recipe.tensor_for(f"smplerx.{name}", tuple(shape))))
        for name, shape, _ in keys
        if not name.startswith("smplx_layer.")
    }
    return build_smpler_x(state, "s", str(fixture))


def _outputs(
    network: SmplerX, model: BodyModel, mean_hands_J3: Tensor, crop_B3HW: Tensor, expected: dict[str, Tensor]
) -> dict[str, Tensor]:
    small = torch.nn.functional.interpolate(crop_B3HW, size=(256, 192))
    map_BCHW, token_BTC = network.encoder(small)
    parameters = network(crop_B3HW)
    translation_B13 = parameters.camera_translation()[:, None]
    zero_pose_BV3 = resting_vertices(model, parameters)
    posed_BV3 = _posed_with_hands(model, parameters, mean_hands_J3, expected)
    return {
        "task_tokens": token_BTC,
        "feat_slice": map_BCHW[:, :: map_BCHW.shape[1] // expected["feat_slice"].shape[1]],
        "body_joint_img": network.body_position_net(map_BCHW),
        "root_6d": parameters.root_B6,
        "body_6d": parameters.body_BJ6.flatten(1),
        "jaw_6d": parameters.jaw_B6,
        "shape": parameters.shape_BS,
        "expr": parameters.expression_BS,
        "cam_trans": parameters.camera_translation(),
        "joint_proj": graph_cells(posed(model, parameters), parameters.camera_translation()),
        "root_pose": from_six_numbers(parameters.root_B6),
        "body_pose": from_six_numbers(parameters.body_BJ6.flatten(0, 1)),
        "jaw_pose": from_six_numbers(parameters.jaw_B6),
        "zero_pose_verts_slice": zero_pose_BV3[:, ::_VERTEX_STEP],
        "zero_pose_verts_mean": zero_pose_BV3.double().mean(dim=1),
        "posed_verts_slice": posed_BV3[:, ::_VERTEX_STEP] + translation_B13,
    }


def _posed_with_hands(
    model: BodyModel, parameters: BodyParameters, mean_hands_J3: Tensor, expected: dict[str, Tensor]
) -> Tensor:
    """The posed mesh with the reference's hands, which this part of SMPLer-X does not regress."""
    rotation_BJ33 = model.rest_rotations(len(parameters.shape_BS))
    body = from_six_numbers(parameters.body_BJ6.flatten(0, 1)).unflatten(0, (-1, NUM_BODY_JOINTS))
    hands_BJ3 = torch.cat([expected["lhand_pose"], expected["rhand_pose"]], dim=1).unflatten(1, (-1, 3)) + mean_hands_J3
    rotation_BJ33[:, 0] = from_six_numbers(parameters.root_B6)
    rotation_BJ33[:, 1:22] = body
    rotation_BJ33[:, 22] = from_six_numbers(parameters.jaw_B6)
    rotation_BJ33[:, 25:] = from_axis_angle(hands_BJ3.flatten(0, 1)).unflatten(0, hands_BJ3.shape[:2])
    return model.pose(parameters.shape_BS, parameters.expression_BS, rotation_BJ33).vertices_BV3


def _comparable(name: str, expected: Tensor) -> Tensor:
    """The reference's numbers in this project's form: the graph's joints, and rotation matrices for vectors."""
    if name == "joint_proj":
        rows = expected[:, list(_GRAPH_ROWS)]
        return torch.cat([rows[:, :14], rows[:, 14:].mean(dim=1, keepdim=True)], dim=1)
    if name in ("root_pose", "body_pose", "jaw_pose"):
        return from_axis_angle(expected.reshape(-1, 3))
    return expected


def _load(path: Path) -> ModuleType:
    """A fixture's own module, by its path."""
    spec = importlib.util.spec_from_file_location(f"parity_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
