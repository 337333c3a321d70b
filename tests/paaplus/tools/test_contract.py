"""The contract of every AI tool: scores in range, bit-identical alone, in any batch and in any order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from safetensors.numpy import save_file

from paaplus.tools.files import TOOL_FILES
from paaplus.tools.nima import NimaTool, read_head
from paaplus.tools.precomputed import read_csv
from paaplus.tools.registry import AI_TOOLS, ToolContext, build
from paaplus.tools.tool import Judgement, Tool, ToolImage
from tests.support.siblings import tiny_tool
from tests.support.tiny import FEATURE_DIM, tiny_base


def pictures() -> list[ToolImage]:
    """Synthetic images of several shapes: noise, blurred noise, plain, a spot, a gradient."""
    rng = np.random.default_rng(3)
    noisy = Image.fromarray(rng.integers(0, 256, (90, 120, 3), np.uint8))
    spot = np.full((80, 81, 3), 60, np.uint8)
    spot[20:32, 22:34] = 240, 40, 40
    ramp = np.repeat(np.linspace(0, 255, 900).astype(np.uint8)[None, :, None], 640, 0).repeat(3, 2)
    images = [
        noisy,
        noisy.filter(ImageFilter.GaussianBlur(3)),
        Image.new("RGB", (33, 47), (128, 128, 128)),
        Image.fromarray(spot),
        Image.fromarray(ramp),
        noisy.resize((1400, 700)),
        Image.new("RGB", (8, 600), (255, 0, 0)),
    ]
    features_BD = rng.normal(size=(len(images), FEATURE_DIM)).astype(np.float16)
    return [
        ToolImage(image, features_D, (f"i{b}", f"{b}.jpg"))
        for b, (image, features_D) in enumerate(zip(images, features_BD, strict=True))
    ]


def head_file(folder: Path, feature_dim: int = FEATURE_DIM) -> Path:
    """A head with random weights, always the same."""
    rng = np.random.default_rng(1)
    weight_ND = rng.normal(size=(10, feature_dim)).astype(np.float32)
    save_file(
        {"classifier.1.weight": weight_ND, "classifier.1.bias": np.zeros(10, np.float32)}, folder / "head.safetensors"
    )
    return folder / "head.safetensors"


@pytest.fixture(scope="module")
def tool_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tool]:
    folder = tmp_path_factory.mktemp("tools")
    csv = folder / "scores.csv"
    csv.write_text("image,beauty,health,confidence\ni0,3,,0.25\n1.jpg,9.5,2,\n")
    nima = NimaTool(read_head(head_file(folder)), "aesthetics", "e" * 64)
    context = ToolContext(tiny_base(("beauty", "health")), nima, read_csv(csv))

    def tool(name: str) -> Tool:
        networks = {name: tiny_tool(name, folder)} if name in TOOL_FILES else {}
        return build(name, replace(context, networks=networks))

    return tool


@pytest.fixture(scope="module")
def alone_of(tool_of: Callable[[str], Tool]) -> Callable[[str], list[Judgement]]:
    """What a tool says of each picture by itself, asked once: networks are slow."""

    @cache
    def alone(name: str) -> list[Judgement]:
        tool = tool_of(name)
        return [tool.score([image])[0] for image in pictures()]

    return alone


SLOW = {"exposure_map", "laion", "mnet", "prompt_det", "tanet", "tanet_ava", "tanet_ava_no_theme"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in AI_TOOLS]
)
def test_same_image_gives_the_same_bits_alone_in_any_batch_and_in_any_order(
    tool_of: Callable[[str], Tool], alone_of: Callable[[str], list[Judgement]], name: str
) -> None:
    tool, images, alone = tool_of(name), pictures(), alone_of(name)
    rng = np.random.default_rng(0)
    if name not in TOOL_FILES:  # networks are slow
        assert tool.score(images) == alone
        assert tool.score(images[::-1]) == alone[::-1]
        for _ in range(5):
            drawn = rng.integers(0, len(images), 11)
            assert tool.score([images[i] for i in drawn]) == [alone[i] for i in drawn]
    drawn = np.concatenate([rng.permutation(len(images)), rng.integers(0, len(images), 4)])  # each, and some twice
    assert drawn[:2].tolist() != [0, 1], "the order is another"
    assert tool.score([images[i] for i in drawn]) == [alone[i] for i in drawn]
    assert tool.score([]) == []


@pytest.mark.parametrize("name", AI_TOOLS)
def test_tool_has_name_and_version_and_scores_only_its_aspects(
    tool_of: Callable[[str], Tool], alone_of: Callable[[str], list[Judgement]], name: str
) -> None:
    tool = tool_of(name)
    assert tool.name == name
    assert 0 < len(tool.version) <= 64
    named: set[str] = set()
    for judgement in alone_of(name):  # Judgement itself refuses what is out of range
        assert isinstance(judgement, Judgement)
        named |= set(judgement.scores)
    assert named == set(tool.aspects)


def test_version_changes_with_the_inputs_of_the_scores(tmp_path: Path) -> None:
    one, other = (build("generic", ToolContext(tiny_base(seed=seed))).version for seed in (0, 1))
    assert one != other
    head = read_head(head_file(tmp_path))
    assert NimaTool(head, "a", "e" * 64).version != NimaTool(head, "a", "f" * 64).version
    for scores in ("1", "2"):
        (tmp_path / f"{scores}.csv").write_text(f"image,beauty\na,{scores}\n")
    assert read_csv(tmp_path / "1.csv").version != read_csv(tmp_path / "2.csv").version
