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
    """One generated scene. `contents` are the kinds of thing that it shows.

    A scene can be painted in several takes, each with another layout; `hue_range_deg` is how far the hues of a
    take may turn without the scene turning into another one (a green face).
    """

    name: str
    painter: Painter
    contents: tuple[str, ...]
    hue_range_deg: float

    def load(self, long_side_px: int, take: int = 0) -> Image.Image:
        """Painted, its longer side `long_side_px` at most; the same picture for the same take."""
        rng = np.random.default_rng([zlib.crc32(self.name.encode()), take])
        canvas_HWC = np.clip(self.painter(rng), 0, 1)
        picture = Image.fromarray(np.round(canvas_HWC * 255).astype(np.uint8))
        picture.thumbnail((long_side_px, long_side_px), Image.Resampling.LANCZOS)
        return _turn_hues(picture, rng.uniform(-1, 1) * self.hue_range_deg) if take else picture


def _turn_hues(picture: Image.Image, degrees: float) -> Image.Image:
    hsv_HWC = np.array(picture.convert("HSV"))
    hsv_HWC[..., 0] = (hsv_HWC[..., 0].astype(int) + round(degrees / 360 * 256)) % 256
    return Image.fromarray(hsv_HWC, "HSV").convert("RGB")


SYNTHETIC_SCENES = (
    SyntheticScene("sunset_sea", painted_nature.sunset_sea, ("landscape", "water"), 25),
    SyntheticScene("misty_hills", painted_nature.misty_hills, ("landscape",), 50),
    SyntheticScene("starry_night", painted_nature.starry_night, ("night", "landscape"), 40),
    SyntheticScene("birch_forest", painted_nature.birch_forest, ("landscape", "plant"), 35),
    SyntheticScene("dunes", painted_nature.dunes, ("landscape",), 20),
    SyntheticScene("flower_meadow", painted_nature.flower_meadow, ("plant", "landscape"), 15),
    SyntheticScene("snow_mountain", painted_nature.snow_mountain, ("landscape",), 25),
    SyntheticScene("aurora", painted_nature.aurora, ("night", "landscape"), 60),
    SyntheticScene("coral_reef", painted_nature.coral_reef, ("water", "animal"), 25),
    SyntheticScene("mirror_lake", painted_nature.mirror_lake, ("landscape", "water"), 20),
    SyntheticScene("spiral_galaxy", painted_nature.spiral_galaxy, ("night", "pattern"), 120),
    SyntheticScene("leaf_veins", painted_nature.leaf_veins, ("plant", "close-up"), 45),
    SyntheticScene("lavender_rows", painted_nature.lavender_rows, ("plant", "landscape"), 25),
    SyntheticScene("butterfly", painted_nature.butterfly, ("animal", "close-up"), 60),
    SyntheticScene("desert_road", painted_nature.desert_road, ("landscape",), 12),
    SyntheticScene("checker_hall", painted_things.checker_hall, ("building", "pattern"), 120),
    SyntheticScene("city_bokeh", painted_things.city_bokeh, ("night", "pattern"), 120),
    SyntheticScene("portrait", painted_things.portrait, ("person",), 8),
    SyntheticScene("still_life", painted_things.still_life, ("object",), 25),
    SyntheticScene("skyline_dusk", painted_things.skyline_dusk, ("night", "building"), 60),
    SyntheticScene("woven_cloth", painted_things.woven_cloth, ("pattern", "close-up"), 180),
    SyntheticScene("brick_wall", painted_things.brick_wall, ("building", "pattern"), 25),
    SyntheticScene("stained_glass", painted_things.stained_glass, ("pattern", "building"), 180),
    SyntheticScene("balloons", painted_things.balloons, ("object", "landscape"), 15),
    SyntheticScene("candlelight", painted_things.candlelight, ("night", "object"), 15),
    SyntheticScene("rainy_window", painted_things.rainy_window, ("water", "close-up"), 60),
    SyntheticScene("winter_house", painted_things.winter_house, ("building", "landscape"), 30),
    SyntheticScene("bookshelf", painted_things.bookshelf, ("object", "pattern"), 30),
    SyntheticScene("walkers", painted_things.walkers, ("person", "landscape"), 60),
)
