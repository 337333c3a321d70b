"""Generated scenes: pictures drawn by a program, marked as synthetic wherever they are shown.

They extend the built-in set beyond the few photographs that packages ship.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from paaplus.data.builtin_set import nature_scenes, people_and_objects_scenes

Painter = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class SyntheticScene:
    """One generated scene; `contents` are the kinds of things in the picture."""

    name: str
    painter: Painter
    contents: tuple[str, ...]

    def load(self, long_side_px: int) -> Image.Image:
        """The picture, its longer side at most `long_side_px` pixels; the same at every call."""
        canvas_HWC = np.clip(self.painter(np.random.default_rng(zlib.crc32(self.name.encode()))), 0, 1)
        picture = Image.fromarray(np.round(canvas_HWC * 255).astype(np.uint8))
        picture.thumbnail((long_side_px, long_side_px), Image.Resampling.LANCZOS)
        return picture


SYNTHETIC_SCENES = (
    SyntheticScene("sunset_sea", nature_scenes.sunset_sea, ("landscape", "water")),
    SyntheticScene("misty_hills", nature_scenes.misty_hills, ("landscape",)),
    SyntheticScene("starry_night", nature_scenes.starry_night, ("night", "landscape")),
    SyntheticScene("birch_forest", nature_scenes.birch_forest, ("landscape", "plant")),
    SyntheticScene("dunes", nature_scenes.dunes, ("landscape",)),
    SyntheticScene("flower_meadow", nature_scenes.flower_meadow, ("plant", "landscape")),
    SyntheticScene("snow_mountain", nature_scenes.snow_mountain, ("landscape",)),
    SyntheticScene("aurora", nature_scenes.aurora, ("night", "landscape")),
    SyntheticScene("coral_reef", nature_scenes.coral_reef, ("water", "animal")),
    SyntheticScene("mirror_lake", nature_scenes.mirror_lake, ("landscape", "water")),
    SyntheticScene("spiral_galaxy", nature_scenes.spiral_galaxy, ("night", "pattern")),
    SyntheticScene("leaf_veins", nature_scenes.leaf_veins, ("plant", "close-up")),
    SyntheticScene("lavender_rows", nature_scenes.lavender_rows, ("plant", "landscape")),
    SyntheticScene("butterfly", nature_scenes.butterfly, ("animal", "close-up")),
    SyntheticScene("desert_road", nature_scenes.desert_road, ("landscape",)),
    SyntheticScene("checker_hall", people_and_objects_scenes.checker_hall, ("building", "pattern")),
    SyntheticScene("city_bokeh", people_and_objects_scenes.city_bokeh, ("night", "pattern")),
    SyntheticScene("portrait", people_and_objects_scenes.portrait, ("person",)),
    SyntheticScene("still_life", people_and_objects_scenes.still_life, ("object",)),
    SyntheticScene("skyline_dusk", people_and_objects_scenes.skyline_dusk, ("night", "building")),
    SyntheticScene("woven_cloth", people_and_objects_scenes.woven_cloth, ("pattern", "close-up")),
    SyntheticScene("brick_wall", people_and_objects_scenes.brick_wall, ("building", "pattern")),
    SyntheticScene("stained_glass", people_and_objects_scenes.stained_glass, ("pattern", "building")),
    SyntheticScene("balloons", people_and_objects_scenes.balloons, ("object", "landscape")),
    SyntheticScene("candlelight", people_and_objects_scenes.candlelight, ("night", "object")),
    SyntheticScene("rainy_window", people_and_objects_scenes.rainy_window, ("water", "close-up")),
    SyntheticScene("winter_house", people_and_objects_scenes.winter_house, ("building", "landscape")),
    SyntheticScene("bookshelf", people_and_objects_scenes.bookshelf, ("object", "pattern")),
    SyntheticScene("walkers", people_and_objects_scenes.walkers, ("person", "landscape")),
)
