"""A NIMA network from a file: its names are mapped, its numbers are torchvision's, and other files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from paaplus.errors import InvalidInput
from paaplus.models.nima import load_network
from paaplus.models.torchvision_shim import ensure_torchvision
from paaplus.services.reviews.tools import is_whole_network
from paaplus.tools.tool import Need, ToolImage


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """A recipe network: MobileNetV2 with random weights, always the same, and a head of ten bins."""
    ensure_torchvision()
    from torchvision.models import mobilenet_v2

    torch.manual_seed(0)
    network = mobilenet_v2(weights=None)
    head = torch.nn.Linear(1280, 10)
    state = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("features.")}
    return state | {"classifier.1.weight": 8 * head.weight.detach(), "classifier.1.bias": head.bias.detach()}


def picture(shade: int) -> ToolImage:
    rng = np.random.default_rng(shade)
    return ToolImage(Image.fromarray(rng.integers(0, 256, (60 + shade, 90, 3), np.uint8)))


@pytest.mark.slow
def test_scores_are_those_of_the_network_put_together_by_hand(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    file = tmp_path / "nima.pth"
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, file)
    tool = load_network(file, "aesthetics")
    from torchvision.models import mobilenet_v2

    network = mobilenet_v2(weights=None)
    network.load_state_dict({n: t for n, t in state.items() if n.startswith("features.")}, strict=False)
    image = picture(3).image
    assert image is not None
    seen = np.asarray(image.resize((256, 256), Image.Resampling.BILINEAR).crop((16, 16, 240, 240)), np.float32) / 255
    normal = (seen - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.inference_mode():
        pooled = network.eval().features(torch.tensor(normal, dtype=torch.float32).permute(2, 0, 1)[None]).mean((2, 3))
        share = torch.softmax(pooled @ state["classifier.1.weight"].T + state["classifier.1.bias"], 1)[0].double()
    mean = float(share @ torch.arange(1, 11, dtype=torch.float64))
    [judgement] = tool.score([picture(3)])
    assert judgement.scores["aesthetics"] == pytest.approx((mean - 1) * 10 / 9, abs=1e-4)
    assert tool.need == Need.PIXELS


def test_names_of_other_trainers_and_both_formats_make_the_same_numbers(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(state, tmp_path / "a.safetensors")
    renamed = {name.replace("features.", "base_model.0."): tensor for name, tensor in state.items()}
    torch.save(renamed, tmp_path / "b.pth")
    one, other = (load_network(tmp_path / name, "a").score([picture(1)]) for name in ("a.safetensors", "b.pth"))
    assert one == other
    assert is_whole_network(tmp_path / "a.safetensors")
    assert is_whole_network(tmp_path / "b.pth")


def test_image_gets_the_same_bits_alone_and_in_a_batch(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "a.safetensors")
    tool = load_network(tmp_path / "a.safetensors", "a")
    images = [picture(shade) for shade in (1, 40, 7)]
    assert tool.score(images) == [tool.score([image])[0] for image in images]


@pytest.mark.slow
def test_files_that_are_no_such_network_are_refused(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return print, ("loaded",)

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "text.pth").write_bytes(b"nonsense")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({n: t for n, t in state.items() if "features.3" not in n}, tmp_path / "part.pth")
    torch.save({n: t for n, t in state.items() if "classifier" not in n}, tmp_path / "headless.pth")
    short = state | {"classifier.1.weight": torch.zeros(10, 7)}
    torch.save(short, tmp_path / "short.pth")
    for name in ("evil", "text", "list", "part", "headless", "short", "missing"):
        with pytest.raises(InvalidInput):
            load_network(tmp_path / f"{name}.pth", "a")
