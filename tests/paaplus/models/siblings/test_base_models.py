"""EAT and TANet as base models: features of one image alone and in any batch, and what they are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from paaplus.errors import InvalidInput
from paaplus.models.base_models import load_extractor
from paaplus.models.siblings import load
from tests.support.siblings import TINY, with_weights


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, network in TINY.items():
        monkeypatch.setitem(load.RECIPES, name, load.Recipe(network, load.RECIPES[name].names))


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, size, np.uint8)) for size in ((40, 60, 3), (90, 30, 3), (224, 224, 3))]


@pytest.mark.parametrize(
    ("name", "variant", "sizes"),
    [
        ("eat", "eat", (64,)),
        ("eat", "eat_tad66k", (64,)),
        ("tanet", "tanet", (1280, 365, 20)),
        ("tanet", "tanet_ava", (1280, 365, 20)),
    ],
)
@pytest.mark.usefixtures("small")
def test_features_are_those_before_the_head(name: str, variant: str, sizes: tuple[int, ...], tmp_path: Path) -> None:
    network = with_weights(TINY[variant]())
    file = tmp_path / "w.pth"
    torch.save(network.state_dict(), file)
    extractor = load_extractor(name, file)
    assert (extractor.name, extractor.feature_dim) == (name, sum(sizes))
    assert tuple(block.size for block in extractor.blocks) == sizes
    images = pictures()
    features_BD = extractor.extract(images)
    for image, features_D in zip(images, features_BD, strict=True):
        assert np.array_equal(extractor.extract([image])[0], features_D)
    assert np.array_equal(extractor.extract(images[::-1]), features_BD[::-1])
    assert len({features_D.tobytes() for features_D in features_BD}) == len(images)
    assert np.isfinite(features_BD).all()


@pytest.mark.usefixtures("small")
def test_other_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    torch.save(with_weights(TINY["mnet"]()).state_dict(), file)
    for name in ("eat", "tanet", "elta"):
        with pytest.raises(InvalidInput, match=f"w.pth is a file of tool 'mnet', not of '{name}'"):
            load_extractor(name, file)
        with pytest.raises(InvalidInput, match="needs its authors' file"):
            load_extractor(name)
