from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.network.config import Compatibility, FrameConfig, tiny_config
from paaplus.models.physiqueframe.network.frame import PhysiqueFrame
from paaplus.models.physiqueframe.tensor_file import TensorFile
from paaplus.models.physiqueframe.weights.checkpoint import convert_checkpoint, load_checkpoint, save_checkpoint
from paaplus.models.physiqueframe.weights.official_names import is_derived, is_unused, own_name
from tests.paaplus.models.physiqueframe.tiny_inputs import tiny_inputs

CONFIG = tiny_config()
# Ours to official, beginning with the longest.
OFFICIAL = {
    "image_encoder.blocks.": "vit.transformer.resblocks.",
    "image_encoder.": "vit.",
    "image_adapter.": "adapter.",
    "image_norm.": "layernorm_x.",
    "posture_encoder.": "pam.encoder_sample.",
    "posture_norm.": "groupnorm_pam.",
    "mesh_norm.": "groupnorm_mf.",
    "heads.appearance.": "appearance_classifier.",
    "heads.health.": "health_classifier.",
    "heads.posture.": "posture_classifier.",
}


@pytest.fixture(scope="module")
def network() -> PhysiqueFrame:
    torch.manual_seed(0)
    return PhysiqueFrame(CONFIG).eval()


def official_layout(network: PhysiqueFrame) -> OrderedDict[str, torch.Tensor]:
    """The network as the published code would have saved one of its size, unused and derived tensors included."""
    state: OrderedDict[str, torch.Tensor] = OrderedDict()
    for name, tensor in network.state_dict().items():
        state[official_name(name)] = tensor.clone()
        if name.endswith("ffn1.weight") or ("mesh_encoder" in name and name.endswith("linear.weight")):
            state[official_name(name)] = tensor[..., None].clone()
        elif "affine" in name:
            state[official_name(name)] = tensor.view(1, 1, 1, -1).clone()
    for name, buffer in network.named_buffers():
        if is_derived(name):
            state[official_name(name)] = buffer.clone()
    state["pam.encoder_sample.head.weight"] = torch.zeros(10, 4)
    state["pam.keypoint_head.transformer.encoder.layers.0.norm1.bias"] = torch.zeros(4)
    return state


def official_name(name: str) -> str:
    graph = "pam.keypoint_head."
    name = name.replace(".attn.in_proj.", ".attn.in_proj_") if name.startswith("image_encoder.") else name
    if name.startswith("posture_graph."):
        rest = name.removeprefix("posture_graph.")
        if rest.startswith("point_heads."):
            _, layer, part = rest.split(".", 2)
            return f"{graph}kpt_branch.{layer}.mlp.{part}"
        rest = rest.replace("ref_point_head.0", "ref_point_head.layers.0")
        rest = rest.replace("ref_point_head.2", "ref_point_head.layers.1").replace(".ffn1.", ".ffn1.conv.")
        return graph + ("transformer." if rest.startswith(("decoder.", "proposal_generator.")) else "") + rest
    if name.startswith("mesh_encoder."):
        return official_mesh_name(name.removeprefix("mesh_encoder."))
    ours = max((prefix for prefix in OFFICIAL if name.startswith(prefix)), key=len)
    return OFFICIAL[ours] + name.removeprefix(ours)


def official_mesh_name(rest: str) -> str:
    rest = rest.replace(".linear.", ".0.").replace(".norm.", ".1.")
    if rest.startswith("embedding."):
        return "pointmlp.embedding.net." + rest.removeprefix("embedding.")
    _, stage, part = rest.split(".", 2)
    if part.startswith("affine"):
        return f"pointmlp.local_grouper_list.{stage}.{part}"
    if part.startswith("transfer."):
        return f"pointmlp.pre_blocks_list.{stage}.transfer.net.{part.removeprefix('transfer.')}"
    place, block = part.split(".", 1)
    return f"pointmlp.{'pre' if place == 'before' else 'pos'}_blocks_list.{stage}.operation.{block}"


@pytest.fixture(scope="module")
def state(network) -> OrderedDict[str, torch.Tensor]:
    return official_layout(network)


def save(state: object, folder: Path, name: str = "frame.pth") -> Path:
    torch.save(state, folder / name)
    return folder / name


def same_scores(first: PhysiqueFrame, second: PhysiqueFrame) -> bool:
    with torch.no_grad():
        return torch.equal(first(*tiny_inputs(2)).score_BA, second(*tiny_inputs(2)).score_BA)


def test_official_names_are_ours_after_the_table(network, state):
    ours = {own_name(name) for name in state if not is_unused(name) and not is_derived(name)}
    assert ours == set(network.state_dict())
    assert all(own_name(name) == name for name in ours)


@pytest.mark.parametrize("wrap", ["plain", "module", "state_dict", "legacy"])
def test_official_layout_loads_and_scores_the_same(network, state, tmp_path, wrap):
    if wrap == "module":
        path = save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path)
    elif wrap == "legacy":
        path = tmp_path / "frame.pth"
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        path = save({"epoch_state": {}, "state_dict": state} if wrap == "state_dict" else state, tmp_path)
    loaded, report = load_checkpoint(path, CONFIG)
    assert report.fits
    assert len(report.loaded) == len(network.state_dict())
    assert len(report.unused) == 2
    assert len(report.derived) == len([name for name in state if is_derived(name)]) > 0
    assert not loaded.training
    assert same_scores(loaded, network)


def test_converted_file_brings_its_sizes_and_switches(network, state, tmp_path):
    config = tiny_config(compatibility=Compatibility(rounded_neighbours=True))
    report = convert_checkpoint(save(state, tmp_path), tmp_path / "frame.safetensors", config)
    assert report.fits
    loaded, report = load_checkpoint(tmp_path / "frame.safetensors")
    assert loaded.config == config
    assert report.unused == report.derived == ()
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_half_precision_weights_load_as_float32(state, tmp_path):
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    loaded, _ = load_checkpoint(save(half, tmp_path), CONFIG)
    assert loaded.image_norm.weight.dtype == torch.float32


def test_missing_and_unexpected_and_misshaped_tensors_are_named(state, tmp_path):
    wrong = dict(state)
    del wrong["layernorm_x.bias"]
    wrong["pam.other.weight"] = torch.zeros(3)
    wrong["groupnorm_mf.weight"] = torch.zeros(5)
    with pytest.raises(InvalidInput) as caught:
        load_checkpoint(save(wrong, tmp_path), CONFIG)
    message = str(caught.value)
    assert "1 missing (image_norm.bias)" in message
    assert "1 unexpected (pam.other.weight)" in message
    assert "1 misshaped (('groupnorm_mf.weight', (5,), (32,)))" in message


def test_a_tensor_under_two_names_is_unexpected(state, tmp_path):
    twice = {**state, "module.layernorm_x.bias": state["layernorm_x.bias"]}
    with pytest.raises(InvalidInput, match=r"1 unexpected \(module.layernorm_x.bias\)"):
        load_checkpoint(save(twice, tmp_path), CONFIG)


def test_buffers_of_other_windows_are_refused(state, tmp_path):
    name = "pam.encoder_sample.layers.0.blocks.0.attn.relative_coords_table"
    with pytest.raises(InvalidInput, match="windows of this size"):
        load_checkpoint(save({**state, name: state[name] * 1.2}, tmp_path), CONFIG)


def test_numbers_that_are_not_finite_are_refused(state, tmp_path):
    broken = {**state, "layernorm_x.bias": torch.full((24,), torch.nan)}
    with pytest.raises(InvalidInput, match=r"layernorm_x.bias has numbers that are not finite"):
        load_checkpoint(save(broken, tmp_path), CONFIG)


def test_tiny_file_does_not_load_into_the_official_size(state, tmp_path):
    with pytest.raises(InvalidInput, match="not a checkpoint of this PhysiqueFrame"):
        load_checkpoint(save(state, tmp_path), FrameConfig())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_files_are_refused(network, state, tmp_path, suffix):
    path = save(state, tmp_path)
    if suffix == ".safetensors":
        path = tmp_path / "frame.safetensors"
        save_checkpoint(network, path)
    whole = path.read_bytes()
    for size in (0, 5, 100, len(whole) // 2, len(whole) - 7):
        path.write_bytes(whole[:size])
        with pytest.raises(InvalidInput):
            load_checkpoint(path, CONFIG)


def test_a_flipped_bit_inside_a_tensor_is_found_by_its_checksum(state, tmp_path):
    path = save(state, tmp_path)
    content = bytearray(path.read_bytes())
    place = content.index(state["layernorm_x.weight"].numpy().tobytes())
    content[place + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="CRC"):
        load_checkpoint(path, CONFIG)


class Hostile:
    """Runs code when it is unpickled by a reader that lets it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.write_text, (self.target, "ran"))


def test_a_file_that_would_run_code_is_refused_and_runs_none(state, tmp_path):
    target = tmp_path / "ran"
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_checkpoint(save({**state, "extra": Hostile(target)}, tmp_path), CONFIG)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Hostile(target)))
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_checkpoint(tmp_path / "plain.pth", CONFIG)
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([torch.zeros(3)], "a list, not a mapping"),
        ({"weight": "text"}, "is a str, not a tensor"),
        ({}, "has no tensors"),
        ({"weight": torch.zeros(3).to_sparse()}, "not a tensor"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path, content, match):
    with pytest.raises(InvalidInput, match=match):
        load_checkpoint(save(content, tmp_path), CONFIG)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="does not exist"):
        load_checkpoint(tmp_path / "none.pth", CONFIG)


def test_views_of_one_storage_are_read_as_themselves(tmp_path):
    block = torch.arange(12.0).view(3, 4)
    path = save({"row": block[1], "turned": block.T, "scalar": torch.tensor(7)}, tmp_path)
    file = TensorFile(path)
    assert file.read("row").tolist() == [4, 5, 6, 7]
    assert torch.equal(file.read("turned"), block.T)
    assert file.read("scalar").item() == 7


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]}}', "lies outside"),
        (b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}', "in 4 bytes"),
        (b'{"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}}', "F99"),
        (b'{"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}', "lies outside"),
        (b"[1]", "cannot be read"),
    ],
)
def test_forged_safetensors_headers_are_refused(tmp_path, header, match):
    path = tmp_path / "forged.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(InvalidInput, match=match):
        TensorFile(path)
    path.write_bytes((10**15).to_bytes(8, "little") + header)
    with pytest.raises(InvalidInput, match="header claims"):
        TensorFile(path)


def test_conversion_writes_safetensors_only(state, tmp_path):
    with pytest.raises(InvalidInput, match=r"must end in \.safetensors"):
        convert_checkpoint(save(state, tmp_path), tmp_path / "frame.pt", CONFIG)


def test_same_network_is_written_as_the_same_bytes_every_time(tmp_path: Path) -> None:
    network = PhysiqueFrame(tiny_config())
    written = set()
    for n in range(12):  # two entries of metadata would come in either order
        save_checkpoint(network, tmp_path / f"{n}.safetensors")
        written.add((tmp_path / f"{n}.safetensors").read_bytes())
    assert len(written) == 1
