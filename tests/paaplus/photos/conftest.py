"""A folder of photographs, and a platform whose extractor is twelve means of colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paaplus.db.engine import Database
from paaplus.db.tables import BaseModelRow
from paaplus.photos.platform import LocalPlatform, open_platform
from paaplus.pipelines import extract_features
from paaplus.services.registry import base_models
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from tests.support.photographs import encoded
from tests.support.tiny import FEATURE_DIM, tiny_base

NUM_PHOTOS = 40


class MeansOfColours:
    """Features that need no network: the mean of each colour in four quarters of the picture."""

    name, digest, feature_dim = "tiny", "e" * 64, FEATURE_DIM

    def __init__(self) -> None:
        self.num_images = 0

    def extract(self, images: Sequence[Image.Image]) -> np.ndarray:
        self.num_images += len(images)
        small_BHWC = np.stack([np.asarray(image.resize((2, 2), Image.Resampling.BOX), float) for image in images])
        return ((small_BHWC.reshape(len(images), -1) - 128) / 64).astype(np.float16)


@pytest.fixture
def extractor(monkeypatch: pytest.MonkeyPatch) -> MeansOfColours:
    found = MeansOfColours()
    monkeypatch.setattr(extract_features, "cached_extractor", lambda *_: found)
    return found


def tiny_starter(database: Database, blobs: BlobStore, _settings: Settings) -> BaseModelRow:
    with database.session() as session:
        return base_models.register(session, blobs, tiny_base(), {"extractor": "tiny"}, {})


def four_colours(number: int) -> Image.Image:
    """A picture of four coloured quarters."""
    colour_HW3 = np.random.default_rng(number).integers(0, 256, (2, 2, 3), np.uint8)
    return Image.fromarray(colour_HW3).resize((60, 40), Image.Resampling.NEAREST)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "pictures"
    for number in range(NUM_PHOTOS):
        file = found / ("trip" if number % 2 else ".") / f"{number:02d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(four_colours(number), "JPEG", quality=90))
    return found


@pytest.fixture
def open_here(
    tmp_path: Path, sqlite_template: Path, extractor: MeansOfColours
) -> Callable[[], AbstractContextManager[LocalPlatform]]:
    """Opens the platform as a new process would."""
    import shutil

    home = tmp_path / "home"
    home.mkdir()
    shutil.copyfile(sqlite_template, home / "paaplus.db")
    return lambda: open_platform(Settings(home=home), "me", tiny_starter)


@pytest.fixture
def platform(open_here: Callable[[], AbstractContextManager[LocalPlatform]]) -> Iterator[LocalPlatform]:
    with open_here() as found:
        yield found
