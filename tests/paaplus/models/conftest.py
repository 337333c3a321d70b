from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from paaplus.models import lite


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def lite_backbone() -> lite.Lite:
    return lite.build()


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Four coloured pictures of different sizes: noise, smoothed to have structure at several scales."""
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 256, (6 + i, 5, 3), np.uint8)).resize(
            (90 + 40 * i, 120), Image.Resampling.BICUBIC
        )
        for i in range(4)
    ]
