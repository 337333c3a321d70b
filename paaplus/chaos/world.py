"""Seeded images, people and policies, enough for a base model and for personal tastes."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

SIDE_PX: Final = 64
SCALE: Final = {"min": 1, "max": 7}
NUM_TRAITS: Final = 4

# Every adapter kind, strategies with and without replay, and enough steps for a kill in the middle.
POLICIES: Final[tuple[dict[str, Any], ...]] = (
    {"min_new_feedback": 4, "max_interval_s": 3},  # less feedback is due after a time: a scan enqueues such users
    {"min_new_feedback": 6, "adapter": "taste_vector", "strategy": "replay", "training": {"num_steps": 200}},
    {"min_new_feedback": 5, "adapter": "bottleneck", "strategy": "replay_ewc", "training": {"num_steps": 150}},
)


@dataclass(frozen=True)
class Picture:
    """A PNG of coloured noise, with the properties that simulated people rate."""

    name: str
    data: bytes
    traits: tuple[float, ...]


def picture(seed: int, number: int) -> Picture:
    """The image of a seed and a number, always the same."""
    rng = np.random.default_rng([seed, number])
    grain = int(rng.integers(2, 12))
    noise = rng.uniform(size=(grain, grain, 3)) * rng.uniform(0.2, 1.0, size=3)
    image = Image.fromarray((noise * 255).astype(np.uint8)).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "PNG")
    pixels = np.asarray(image, np.float64) / 255
    traits = (*pixels.mean(axis=(0, 1)), pixels.std())
    return Picture(f"picture-{number}.png", file.getvalue(), tuple(float(t) for t in traits))


def rating(seed: int, person: int, shown: Picture, mood: float) -> int:
    """This person's rating of the image, 1 to 7; `mood` is a standard normal number."""
    weights = np.random.default_rng([seed, 1_000_003, person]).normal(size=NUM_TRAITS)
    liking = 4.0 + 4.0 * float(weights @ (np.asarray(shown.traits) - 0.3)) + 0.5 * mood
    return int(np.clip(round(liking), SCALE["min"], SCALE["max"]))


def write_data_folder(folder: Path, seed: int, num_pictures: int, num_people: int) -> None:
    """Write a folder for `paaplus base-models train --data`, with other people than the traffic's."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng([seed, 7])
    shown = [picture(seed, -number % 2**31) for number in range(1, num_pictures + 1)]
    for each in shown:
        (folder / "images" / each.name).write_bytes(each.data)
    with (folder / "ratings.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["user_id", "image", "rating"])
        for person in range(num_people):
            for each in shown:
                rows.writerow([f"p{person}", each.name, rating(seed, 10_000 + person, each, rng.normal())])
