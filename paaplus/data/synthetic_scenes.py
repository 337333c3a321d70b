"""Generated scenes: pictures painted by a program, and called synthetic wherever they are shown.

They widen the built-in set beyond the few photographs that packages ship.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from paaplus.data import painted_nature, painted_things

Painter = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class SyntheticScene:
    """One generated scene; `contents` are the kinds of thing that it shows."""

    name: str
    painter: Painter
    contents: tuple[str, ...]

    def load(self, long_side_px: int) -> Image.Image:
        """Painted, its longer side `long_side_px` at most; always the same picture."""
        canvas_HWC = np.clip(self.painter(np.random.default_rng(zlib.crc32(self.name.encode()))), 0, 1)
        picture = Image.fromarray(np.round(canvas_HWC * 255).astype(np.uint8))
        picture.thumbnail((long_side_px, long_side_px), Image.Resampling.LANCZOS)
        return picture


SYNTHETIC_SCENES = (
    SyntheticScene("sunset_sea", painted_nature.sunset_sea, ("landscape", "water")),
    SyntheticScene("misty_hills", painted_nature.misty_hills, ("landscape",)),
    SyntheticScene("starry_night", painted_nature.starry_night, ("night", "landscape")),
    SyntheticScene("birch_forest", painted_nature.birch_forest, ("landscape", "plant")),
    SyntheticScene("dunes", painted_nature.dunes, ("landscape",)),
    SyntheticScene("flower_meadow", painted_nature.flower_meadow, ("plant", "landscape")),
    SyntheticScene("snow_mountain", painted_nature.snow_mountain, ("landscape",)),
    SyntheticScene("aurora", painted_nature.aurora, ("night", "landscape")),
    SyntheticScene("coral_reef", painted_nature.coral_reef, ("water", "animal")),
    SyntheticScene("mirror_lake", painted_nature.mirror_lake, ("landscape", "water")),
    SyntheticScene("spiral_galaxy", painted_nature.spiral_galaxy, ("night", "pattern")),
    SyntheticScene("leaf_veins", painted_nature.leaf_veins, ("plant", "close-up")),
    SyntheticScene("lavender_rows", painted_nature.lavender_rows, ("plant", "landscape")),
    SyntheticScene("butterfly", painted_nature.butterfly, ("animal", "close-up")),
    SyntheticScene("desert_road", painted_nature.desert_road, ("landscape",)),
    SyntheticScene("checker_hall", painted_things.checker_hall, ("building", "pattern")),
    SyntheticScene("city_bokeh", painted_things.city_bokeh, ("night", "pattern")),
    SyntheticScene("portrait", painted_things.portrait, ("person",)),
    SyntheticScene("still_life", painted_things.still_life, ("object",)),
    SyntheticScene("skyline_dusk", painted_things.skyline_dusk, ("night", "building")),
    SyntheticScene("woven_cloth", painted_things.woven_cloth, ("pattern", "close-up")),
    SyntheticScene("brick_wall", painted_things.brick_wall, ("building", "pattern")),
    SyntheticScene("stained_glass", painted_things.stained_glass, ("pattern", "building")),
    SyntheticScene("balloons", painted_things.balloons, ("object", "landscape")),
    SyntheticScene("candlelight", painted_things.candlelight, ("night", "object")),
    SyntheticScene("rainy_window", painted_things.rainy_window, ("water", "close-up")),
    SyntheticScene("winter_house", painted_things.winter_house, ("building", "landscape")),
    SyntheticScene("bookshelf", painted_things.bookshelf, ("object", "pattern")),
    SyntheticScene("walkers", painted_things.walkers, ("person", "landscape")),
)
