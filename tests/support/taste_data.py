"""Simulated people with known tastes over random features, in arrays or as a data folder."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from paaplus.ids import sha256_hex
from paaplus.models.base_fit import Ratings
from paaplus.models.extractor import FeatureBlock


@dataclass(frozen=True)
class Simulated:
    """Everybody rates every image: `5 + features @ (crowd + own) + offset + noise`, cut to 0-10."""

    features_ID: np.ndarray
    crowd_I: np.ndarray  # what the crowd thinks, without noise
    score_UI: np.ndarray
    ratings: Ratings


def simulate(
    num_people: int = 30,
    num_images: int = 120,
    feature_dim: int = 12,
    own_sd: float = 0.35,
    offset_sd: float = 0.8,
    noise_sd: float = 0.7,
    aspects: tuple[str, ...] = ("beauty",),
    seed: int = 0,
) -> Simulated:
    """Tastes differ along the second feature only: `own` is `own_sd * 3` there and 0 elsewhere."""
    rng = np.random.default_rng(seed)
    features_ID = rng.normal(size=(num_images, feature_dim)).astype(np.float16)
    x_ID = features_ID.astype(np.float64)
    crowd_D = np.zeros(feature_dim)
    crowd_D[0] = 1.0
    crowd_I = 5.0 + x_ID @ crowd_D
    own_U = 3 * own_sd * rng.normal(size=num_people)
    score_UI = crowd_I + own_U[:, None] * x_ID[:, 1] + offset_sd * rng.normal(size=(num_people, 1))
    score_UI = np.clip(score_UI + noise_sd * rng.normal(size=score_UI.shape), 0, 10)
    person_N, image_N = (index.ravel() for index in np.indices(score_UI.shape))
    score_NA = np.repeat(score_UI.reshape(-1, 1), len(aspects), axis=1)
    return Simulated(features_ID, crowd_I, score_UI, Ratings(aspects, person_N, image_N, score_NA))


class PixelExtractor:
    """An extractor without a network: the pixels of the image's first row. Counts what it was asked."""

    name = "pixels"
    digest = sha256_hex(b"pixels")

    def __init__(self, feature_dim: int = 36) -> None:
        self.feature_dim = feature_dim
        self.blocks = (FeatureBlock(feature_dim),)
        self.num_extracted = 0

    def extract(self, images: list[Image.Image]) -> np.ndarray:
        self.num_extracted += len(images)
        rows = [np.asarray(image, np.float16)[0].ravel()[: self.feature_dim] / 64 for image in images]
        return np.array(rows, np.float16).reshape(len(images), self.feature_dim)


def write_folder(path: Path, simulated: Simulated, images_per_scene: int = 1) -> Path:
    """Write a data folder of PNGs whose first row holds the features, with whole ratings 1 to 7."""
    (path / "images").mkdir(parents=True)
    num_images, feature_dim = simulated.features_ID.shape
    names = [f"image_{i:03d}.png" for i in range(num_images)]
    for name, feature_D in zip(names, simulated.features_ID.astype(np.float64), strict=True):
        pixel_HW3 = np.zeros((8, -(-feature_dim // 3), 3), np.uint8)
        pixel_HW3.reshape(8, -1)[0, :feature_dim] = np.clip(128 + 32 * feature_D, 0, 255)
        Image.fromarray(pixel_HW3).save(path / "images" / name)
    ratings = [
        (f"u{person:02d}", names[image], round(1 + 0.6 * simulated.score_UI[person, image]))
        for person, image in np.ndindex(simulated.score_UI.shape)
    ]
    _write_csv(path / "ratings.csv", [("user_id", "image", "rating"), *ratings])
    if images_per_scene > 1:
        scenes = [(name, f"scene {i // images_per_scene}") for i, name in enumerate(names)]
        _write_csv(path / "images.csv", [("image", "scene"), *scenes])
    return path


def _write_csv(file: Path, rows: list[tuple]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
