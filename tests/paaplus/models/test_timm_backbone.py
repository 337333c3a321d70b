from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from paaplus.errors import InvalidInput
from paaplus.models.base_models import load_extractor
from paaplus.models.device import resolve_device
from paaplus.models.timm_backbone import build_network, read_state


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small vision transformer with recipe weights, with a classifier that features do not need."""
    torch.manual_seed(0)
    network = build_network("test_vit", pretrained=False)
    state = {**network.state_dict(), "head.weight": torch.zeros(10, 64), "head.bias": torch.zeros(10)}
    file = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    save_file(state, file)
    return file


def test_any_timm_name_becomes_an_extractor_when_weights_are_given(weights, pictures):
    extractor = load_extractor("timm:test_vit", weights)
    features_BD = extractor.extract(pictures)
    assert (extractor.name, extractor.feature_dim) == ("timm:test_vit", 64)
    assert (features_BD.shape, features_BD.dtype) == ((4, 64), np.float16)
    assert np.isfinite(features_BD).all()
    assert extractor.extract([]).shape == (0, 64)
    assert load_extractor("test_vit", weights).digest == extractor.digest


def test_features_are_the_networks_output_on_its_own_normalisation(weights, pictures):
    extractor = load_extractor("test_vit", weights)
    network = build_network("test_vit", pretrained=False)
    network.load_state_dict({k: v for k, v in read_state(weights).items() if not k.startswith("head.")})
    size_px = network.pretrained_cfg["input_size"][1]
    resized = np.asarray(pictures[0].resize((size_px, size_px), 3), np.float32) / 255  # 3 is bicubic
    mean, std = (np.array(network.pretrained_cfg[key], np.float32) for key in ("mean", "std"))
    with torch.no_grad():
        output_D = network.eval()(torch.from_numpy(((resized - mean) / std).transpose(2, 0, 1)[None]))[0].numpy()
    expected_D = np.sign(output_D) * np.sqrt(np.abs(output_D))
    np.testing.assert_allclose(extractor.extract(pictures[:1])[0], expected_D, rtol=5e-3, atol=5e-3)


@pytest.mark.slow
def test_features_do_not_depend_on_the_batch(weights, lite_backbone, pictures):
    for extractor in (load_extractor("test_vit", weights), lite_backbone):
        together = extractor.extract(pictures)
        alone = np.concatenate([extractor.extract([picture]) for picture in pictures])
        np.testing.assert_array_equal(together, alone)


def test_backbone_is_frozen(weights, pictures):
    backbone = load_extractor("test_vit", weights)
    before = {name: tensor.clone() for name, tensor in backbone.network.state_dict().items()}
    backbone.extract(pictures)
    assert not backbone.network.training
    assert not any(parameter.requires_grad for parameter in backbone.network.parameters())
    for name, tensor in backbone.network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_same_weights_load_from_pth_in_a_wrapper(weights, tmp_path):
    file = tmp_path / "vit.pth"
    torch.save({"state_dict": read_state(weights), "epoch": 3}, file)
    assert load_extractor("test_vit", file).digest == load_extractor("test_vit", weights).digest


def test_digest_changes_when_a_weight_changes(weights, tmp_path):
    state = read_state(weights)
    state["norm.bias"] = state["norm.bias"].clone()
    state["norm.bias"][0] += 1e-6
    file = tmp_path / "other.safetensors"
    save_file(state, file)
    assert load_extractor("test_vit", file).digest != load_extractor("test_vit", weights).digest


def test_weights_are_refused_when_they_do_not_fit(weights, tmp_path):
    state = read_state(weights)
    file = tmp_path / "bad.safetensors"
    for change in ({"norm.bias": torch.zeros(3)}, {"extra.weight": torch.zeros(3)}):
        save_file({**state, **change}, file)
        with pytest.raises(InvalidInput, match=next(iter(change))):
            load_extractor("test_vit", file)
    save_file({k: v for k, v in state.items() if k != "norm.bias"}, file)
    with pytest.raises(InvalidInput, match=r"norm\.bias"):
        load_extractor("test_vit", file)


class Dangerous:
    def __reduce__(self):
        return os.mkdir, ("was-run",)


def test_weights_file_is_refused_when_reading_it_would_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"weight": Dangerous()}, protocol=2))
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_state(tmp_path / "plain.pth")
    torch.save({"weight": Dangerous()}, tmp_path / "zip.pth")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_state(tmp_path / "zip.pth")
    assert not (tmp_path / "was-run").exists()


def test_weights_file_is_refused_when_it_is_not_one(tmp_path):
    with pytest.raises(InvalidInput, match="does not exist"):
        read_state(tmp_path / "nowhere.pth")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_state(tmp_path / "text.safetensors")
    (tmp_path / "empty.pth").write_bytes(b"")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_state(tmp_path / "empty.pth")
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    with pytest.raises(InvalidInput, match="not a mapping of names to tensors"):
        read_state(tmp_path / "none.pth")


def test_unknown_name_is_refused_with_near_ones():
    with pytest.raises(InvalidInput, match="resnet18"):
        load_extractor("resnet_18")


@pytest.mark.slow
def test_unreachable_hub_is_unavailable_and_says_what_to_do():
    script = (
        "from paaplus.errors import Unavailable\n"
        "from paaplus.models.base_models import load_extractor\n"
        "try:\n    load_extractor('timm:test_vit')\n"
        "except Unavailable as error:\n    assert '--weights FILE' in str(error) and 'test_vit' in str(error), error\n"
        "else:\n    raise SystemExit('loaded')\n"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:0", ""])
def test_device_is_refused_when_unknown(name):
    with pytest.raises(InvalidInput, match="auto, cpu, cuda"):
        resolve_device(name)


def test_device_falls_back_to_cpu_when_there_is_no_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [resolve_device(name) for name in ("auto", "cpu", "cuda", "cuda:3")] == ["cpu"] * 4


def test_device_is_counted_when_there_is_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [resolve_device(name) for name in ("auto", "cpu", "cuda", "cuda:1")] == ["cuda:0", "cpu", "cuda:0", "cuda:1"]
    with pytest.raises(InvalidInput, match="has 2 CUDA"):
        resolve_device("cuda:2")


@pytest.mark.gpu
def test_features_agree_when_extracted_on_a_gpu(lite_backbone, pictures):
    on_gpu = load_extractor("lite", device="cuda")
    assert on_gpu.digest == lite_backbone.digest
    np.testing.assert_allclose(on_gpu.extract(pictures), lite_backbone.extract(pictures), rtol=2e-2, atol=2e-2)
