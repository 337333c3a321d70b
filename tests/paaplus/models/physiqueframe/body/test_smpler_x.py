from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.body.checkpoint import build_smpler_x, load_smpler_x
from paaplus.models.physiqueframe.body.smpler_x import SIZES, BodyParameters, SmplerX


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return SmplerX("s").state_dict()


@pytest.mark.parametrize(("size", "millions"), [("s", 21.7), ("b", 85.8), ("l", 303.3), ("h", 631.0)])
def test_encoder_has_the_published_number_of_parameters(size: str, millions: float) -> None:
    with torch.device("meta"):
        encoder = SmplerX(size).encoder
    assert sum(p.numel() for p in encoder.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)
    assert len(encoder.blocks) == SIZES[size].depth


@pytest.mark.slow
def test_official_file_loads_whatever_its_prefix_and_spare_parts(state: dict[str, Tensor], tmp_path: Path) -> None:
    """The trap of the published code: with `module.` and strict=False nothing would be loaded, silently."""
    old = {name.replace("body_regressor.", "body_rotation_net.", 1): tensor for name, tensor in state.items()}
    old = {name.replace("encoder.", "backbone.", 1): tensor for name, tensor in old.items()}
    spare = {"module.box_net.deconv.0.weight": torch.zeros(2), "module.smplx_layer.parents": torch.zeros(55).long()}
    contents = {
        "wrapped.pth.tar": {"epoch": 3, "network": {f"module.{name}": t for name, t in state.items()} | spare},
        "plain.pth": state,
        "old.pth": {"network": old},
    }
    for file, content in contents.items():
        torch.save(content, tmp_path / file)
        loaded = load_smpler_x(tmp_path / file).state_dict()
        assert loaded.keys() == state.keys()
        assert all(torch.equal(loaded[name], state[name]) for name in state)
    save_file(state, tmp_path / "clean.safetensors")
    assert torch.equal(load_smpler_x(tmp_path / "clean.safetensors").encoder.pos_embed, state["encoder.pos_embed"])


def test_weights_are_refused_when_they_do_not_fit(state: dict[str, Tensor]) -> None:
    missing = {name: tensor for name, tensor in state.items() if "cam_out" not in name}
    with pytest.raises(InvalidInput, match=r"2 missing \(body_regressor.cam_out.0.weight"):
        build_smpler_x(missing, "s", "file")
    with pytest.raises(InvalidInput, match=r"1 unexpected \(neck.weight\)"):
        build_smpler_x({**state, "neck.weight": torch.zeros(1)}, "s", "file")
    with pytest.raises(InvalidInput, match="of another shape"):
        build_smpler_x(state, "b", "file")
    with pytest.raises(InvalidInput, match=r"1 not finite \(encoder.last_norm.bias\)"):
        build_smpler_x({**state, "encoder.last_norm.bias": torch.full((384,), torch.nan)}, "s", "file")
    with pytest.raises(InvalidInput, match="size 'm'"):
        build_smpler_x(state, "m", "file")


def test_file_is_refused_when_it_is_cut_hostile_or_something_else(tmp_path: Path) -> None:
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 and no more")
    torch.save({"network": [1, 2]}, tmp_path / "list.pth")
    torch.save({"network": {"encoder.task_tokens": torch.zeros(1, 31, 100)}}, tmp_path / "narrow.pth")
    torch.save({"network": Path("/")}, tmp_path / "object.pth")
    for file, message in {
        "cut.pth": "cannot be read",
        "list.pth": "not a mapping of names to tensors|not a tensor",
        "narrow.pth": "width 100",
        "object.pth": "cannot be read",
        "absent.pth": "does not exist",
    }.items():
        with pytest.raises(InvalidInput, match=message):
            load_smpler_x(tmp_path / file)


def test_camera_stands_at_half_its_farthest_distance_when_the_logit_is_zero() -> None:
    zero = torch.zeros(1, 10)
    parameters = BodyParameters(zero, zero, zero, zero, zero, torch.tensor([[0.25, -0.5, 0.0]]))
    # 5000 px * 2.5 m / sqrt(256 * 192) px = 56.38 m
    assert parameters.camera_translation()[0].tolist() == pytest.approx([0.25, -0.5, 28.19], abs=5e-3)
