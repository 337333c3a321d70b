"""A small data folder for the commands that evaluate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def rated_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve simulated people who like red or blue pictures, and a split file."""
    path = tmp_path_factory.mktemp("rated")
    (path / "images").mkdir()
    rng = np.random.default_rng(0)
    lines = ["user_id,image,rating"]
    for i in range(24):
        colour = rng.integers(0, 256, 3)
        noise = rng.integers(-20, 20, (32, 32, 3))
        Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(path / "images" / f"{i:02d}.png")
        for person in range(12):
            liking = (colour[0] - colour[2]) / 255 * (1 if person % 2 else -1) + rng.normal(0, 0.2)
            lines.append(f"p{person},{i:02d}.png,{round(3 + 2 * np.clip(liking, -1, 1))}")
    (path / "ratings.csv").write_text("\n".join(lines) + "\n")
    (path / "split.py").write_text(
        "from types import SimpleNamespace\n"
        "def split(seed, data=None):\n"
        "    images = [f'{i:02d}.png' for i in range(24)]\n"
        "    return SimpleNamespace(train_people=[f'p{n}' for n in range(8)], test_people=['p8', 'p9', 'p10', 'p11'],\n"
        "        train_images=set(images[:16]), test_images=set(images[16:]), support=lambda user_id, k: images[:k])\n"
    )
    return path
