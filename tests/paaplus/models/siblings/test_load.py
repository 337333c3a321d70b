"""Files of networks: strict, and a file of another tool is refused with the name of that tool."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from paaplus.errors import InvalidInput, Unavailable
from paaplus.models.nima import load_network as load_nima
from paaplus.models.siblings import load, state
from paaplus.models.siblings.elta import build, modern_names
from paaplus.models.torchvision_shim import ensure_torchvision
from paaplus.services.reviews import tools as tools_service
from paaplus.tools import files
from paaplus.tools.tool import ToolImage
from tests.support.siblings import TINY, text_vectors, with_weights

ONE_FILE = [name for name in TINY if name not in ("laion", "tanet_ava_no_theme", "elta_regression")]


def official_names(name: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As the authors' files are laid out, where that is not as our networks have it."""
    if not name.startswith("elta"):
        return tensors
    renamed = {}
    for key, tensor in tensors.items():
        parts = key.split(".")
        if parts[:2] == ["vit", "layers"] and parts[3] == "downsample":
            parts[2] = str(int(parts[2]) - 1)
        renamed[".".join(parts)] = tensor
    return renamed | {"vit.head.weight": torch.zeros(1000, 64), "vit.layers.0.blocks.1.attn_mask": torch.zeros(1)}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tool with a small network."""
    for name, network in TINY.items():
        monkeypatch.setitem(load.RECIPES, name, load.Recipe(network, load.RECIPES[name].names))


def put(home: Path, name: str, tensors: dict[str, torch.Tensor] | None = None) -> Path:
    folder = home / files.FOLDER
    folder.mkdir(exist_ok=True)
    tensors = with_weights(TINY[name]()).state_dict() if tensors is None else tensors
    file = folder / files.TOOL_FILES[name].names[0]
    torch.save(official_names(name, dict(tensors)), file)
    return file


@pytest.mark.parametrize("name", ONE_FILE)
@pytest.mark.usefixtures("small")
def test_file_makes_the_tool_and_its_numbers(name: str, tmp_path: Path) -> None:
    network = with_weights(TINY[name]())
    put(tmp_path, name, network.state_dict())
    tool = load.load_tool(tmp_path, name)
    assert tool.version == files.version(tmp_path, name)
    assert tool.aspects == files.aspects(tmp_path, name)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    from paaplus.models.siblings.tools import BUILDERS

    by_hand = BUILDERS[name](tool.version, lambda: network, "cpu", None)
    assert tool.score([ToolImage(image)]) == by_hand.score([ToolImage(image)])


@pytest.mark.parametrize("name", ONE_FILE)
def test_file_of_another_tool_is_refused_with_its_name(name: str) -> None:
    tensors = official_names(name, dict(TINY[name]().state_dict()))
    assert state.reader_of(tensors) == name
    other = "mnet" if name != "mnet" else "tanet"
    with pytest.raises(InvalidInput, match=rf"w.pth is a file of tool '{name}', not of '{other}'"):
        state.check_is_for(other, tensors, "w.pth")


def test_torchvisions_mobilenet_is_told_from_the_laboratorys() -> None:
    ensure_torchvision()
    from torchvision.models import mobilenet_v2

    with pytest.raises(InvalidInput, match="is a file of tool 'nima', not of 'mnet'"):
        state.check_is_for("mnet", mobilenet_v2(weights=None).state_dict(), "w.pth")
    with pytest.raises(InvalidInput, match="is no file of tool 'mnet': its first tensors are a"):
        state.check_is_for("mnet", {"a": torch.ones(1)}, "w.pth")


def test_file_of_the_laboratorys_mobilenet_is_refused_by_nima_with_its_tool(tmp_path: Path) -> None:
    file = tmp_path / "m.pth"
    torch.save(TINY["mnet"]().state_dict(), file)
    with pytest.raises(InvalidInput, match="it is a file of tool 'mnet'"):
        load_nima(file, "aesthetics")


@pytest.mark.usefixtures("small")
def test_missing_left_over_and_wrong_tensors_are_told(tmp_path: Path) -> None:
    tensors = dict(with_weights(TINY["mnet"]()).state_dict())
    put(tmp_path, "mnet", {name: tensor for name, tensor in tensors.items() if name != "head.2.bias"})
    with pytest.raises(InvalidInput, match=r"1 tensors are missing \(head.2.bias\), 0 are left over"):
        load.load_tool(tmp_path, "mnet")
    put(tmp_path, "mnet", tensors | {"extra.weight": torch.ones(2)})
    with pytest.raises(InvalidInput, match=r"1 are left over \(extra.weight\)"):
        load.load_tool(tmp_path, "mnet")
    put(tmp_path, "mnet", tensors | {"head.2.weight": torch.ones(7, 1280)})
    with pytest.raises(InvalidInput, match=r"head.2.weight has shape \(7, 1280\), needed \(10, 1280\)"):
        load.load_tool(tmp_path, "mnet")
    put(tmp_path, "mnet", tensors | {"head.2.bias": torch.full((10,), float("nan"))})
    with pytest.raises(InvalidInput, match="not finite"):
        load.load_tool(tmp_path, "mnet")
    file = put(tmp_path, "mnet")
    file.write_bytes(b"\x80\x04evil")
    with pytest.raises(InvalidInput, match="cannot be read"):
        load.load_tool(tmp_path, "mnet")
    file.unlink()
    with pytest.raises(Unavailable, match=r"tool 'mnet' needs mnet\.pth"):
        load.load_tool(tmp_path, "mnet")


@pytest.mark.usefixtures("small")
def test_laion_needs_both_of_its_files(tmp_path: Path) -> None:
    network = with_weights(TINY["laion"]())
    tensors = network.state_dict()
    head = {name.removeprefix("head."): tensor for name, tensor in tensors.items() if name.startswith("head.")}
    tower = {name.removeprefix("tower."): tensor for name, tensor in tensors.items() if name.startswith("tower.")}
    assert state.reader_of(head) == "laion"
    folder = tmp_path / files.FOLDER
    folder.mkdir()
    torch.save(head, folder / files.TOOL_FILES["laion"].names[0])
    assert files.find(tmp_path, "laion") is None
    assert "and clip_vit_large_patch14_openai.safetensors" in files.needs("laion")
    from safetensors.torch import save_file

    save_file(
        {name: tensor.contiguous() for name, tensor in tower.items()}, folder / files.TOOL_FILES["laion"].companion
    )
    tool = load.load_tool(tmp_path, "laion")
    assert len(tool.version.split("-")) == 3  # both digests, and the code
    image = Image.new("RGB", (50, 30), (10, 200, 30))
    [judgement] = tool.score([ToolImage(image)])
    assert 0 <= judgement.scores["aesthetics"] <= 10


@pytest.mark.usefixtures("small")
def test_text_vectors_add_aspects_and_change_the_version(tmp_path: Path) -> None:
    put(tmp_path, "prompt_det")
    without = load.load_tool(tmp_path, "prompt_det")
    assert without.aspects == ("colour",)
    (tmp_path / files.FOLDER / "prompt_det_texts.npz").write_bytes(text_vectors(tmp_path).read_bytes())
    tool = load.load_tool(tmp_path, "prompt_det")
    assert tool.aspects == ("colour", "warmth", "colourfulness", "harmony")
    assert tool.version != without.version
    np.savez(tmp_path / files.FOLDER / "prompt_det_texts.npz", **{"warm tone.": np.ones(5)})
    with pytest.raises(InvalidInput, match=r"no vector of 1024 numbers under 'warm tone\.'"):
        load.load_tool(tmp_path, "prompt_det")


@pytest.mark.usefixtures("small")
def test_text_tower_of_the_official_file_is_left_out_and_nothing_else(tmp_path: Path) -> None:
    tensors = dict(with_weights(TINY["prompt_det"]()).state_dict())
    clip = "icaa_clip.clip_model"
    tower = {f"{clip}.transformer.resblocks.0.ln_1.weight": torch.ones(2), f"{clip}.text_projection": torch.ones(2, 2)}
    put(tmp_path, "prompt_det", tensors | tower)
    assert load.load_tool(tmp_path, "prompt_det").aspects == ("colour",)
    put(tmp_path, "prompt_det", tensors | {f"{clip}.visual.extra": torch.ones(2)})
    with pytest.raises(InvalidInput, match="1 are left over"):
        load.load_tool(tmp_path, "prompt_det")


@pytest.mark.usefixtures("small")
def test_one_network_is_in_memory_at_a_time_and_comes_back(tmp_path: Path) -> None:
    put(tmp_path, "mnet")
    put(tmp_path, "eat")
    first, second = load.load_tool(tmp_path, "mnet"), load.load_tool(tmp_path, "eat")
    image = ToolImage(Image.new("RGB", (32, 32), (200, 100, 50)))
    scores = first.score([image]), second.score([image])
    assert len(load._loaded) == 1
    assert (first.score([image]), second.score([image])) == scores


def test_tool_without_file_is_listed_as_needing_it(tmp_path: Path) -> None:
    for name in files.TOOL_FILES:
        assert files.needs(name).startswith("needs ")
        assert files.version(tmp_path, name) is None
    from paaplus.settings import Settings

    with pytest.raises(InvalidInput, match=r"tool 'icaa' needs icaa.pth in \$PAAPLUS_HOME/weights"):
        tools_service.check_runnable(["icaa"], Settings(home=tmp_path))


def test_elta_is_a_base_model_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from paaplus.models.siblings import elta

    network = with_weights(TINY["elta"]())
    file = put(tmp_path, "elta", network.state_dict())
    small = TINY["elta"]
    monkeypatch.setattr(elta, "Elta", small)
    extractor = build(file)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    with torch.inference_mode():
        pooled_D = network.features(elta.PREPROCESSING.pixels(image))[0].numpy()
    found_D = extractor.extract([image])[0].astype(np.float64)
    assert np.allclose(found_D, np.sign(pooled_D) * np.sqrt(np.abs(pooled_D)), atol=2e-3)
    with pytest.raises(InvalidInput, match="needs its authors' file"):
        build(None)
    with pytest.raises(InvalidInput, match="two tensors of the file"):
        modern_names(
            {"vit.layers.0.downsample.a": torch.ones(1), "vit.layers.1.downsample.a": torch.ones(1)}
            | {"vit.layers.2.downsample.a": torch.ones(1), "vit.layers.01.downsample.a": torch.ones(1)}
        )
