"""Generated scenes: pictures painted by a program, and called synthetic wherever they are shown.

They widen the built-in set beyond the few photographs that packages ship. Each is drawn once, from its own seed.
Shape letters: H, W = canvas, C = 3 colour channels from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from paaplus.data.painting import (
    ASPECT,
    WIDTH_PX,
    X_HW,
    Y_HW,
    below,
    dab,
    disc,
    glow,
    gradient,
    line_noise,
    noise,
    over,
    sphere,
    stroke,
)

Painter = Callable[[np.random.Generator], np.ndarray]


def sunset_sea(rng: np.random.Generator) -> np.ndarray:
    picture = gradient((0, (0.16, 0.18, 0.42)), (0.35, (0.85, 0.42, 0.38)), (0.55, (1.0, 0.78, 0.42)))
    picture = over(picture, 0.55 * np.clip(noise(rng, 7, 2) - 0.45, 0, 1) * 2 * (Y_HW < 0.55), (0.95, 0.55, 0.5))
    picture = over(picture, glow(0.62, 0.5, 0.3) * 0.7, (1.0, 0.85, 0.5))
    picture = over(picture, disc(0.62, 0.48, 0.055), (1.0, 0.95, 0.75))
    depth = np.clip((Y_HW - 0.55) / 0.45, 0, 1)
    sea = gradient((0.55, (0.55, 0.35, 0.4)), (1, (0.05, 0.1, 0.22)))
    waves = np.sin(190 * np.sqrt(depth + 0.002) + 9 * noise(rng, 40, 6)) * 0.5 + 0.5
    path = np.exp(-(((X_HW - 0.62) / (0.03 + 0.14 * depth)) ** 2))
    sea = over(sea, path * waves**2 * 0.9, (1.0, 0.8, 0.5))
    return over(picture, below(np.full(WIDTH_PX, 0.55)), sea * (0.85 + 0.25 * waves[..., None]))


def misty_hills(rng: np.random.Generator) -> np.ndarray:
    picture = gradient((0, (0.62, 0.74, 0.86)), (0.6, (0.93, 0.9, 0.84)))
    for layer in range(6):
        t = layer / 5
        outline = 0.36 + 0.11 * layer - (0.2 - 0.015 * layer) * line_noise(rng, 3, 5)
        colour = (0.68 - 0.58 * t, 0.76 - 0.5 * t, 0.8 - 0.62 * t)
        shaded = np.asarray(colour) * (0.85 + 0.3 * noise(rng, 12, 16)[..., None])
        picture = over(picture, below(outline), shaded)
        picture = over(picture, below(outline + 0.05, 0.09) * (1 - t) * 0.45, (0.9, 0.91, 0.9))
    return picture


def starry_night(rng: np.random.Generator) -> np.ndarray:
    picture = gradient((0, (0.015, 0.02, 0.07)), (0.7, (0.06, 0.1, 0.22)), (0.88, (0.2, 0.25, 0.36)))
    band = np.exp(-(((Y_HW - 0.85 + 0.85 * X_HW) / 0.16) ** 2)) * noise(rng, 6, 8, 5)
    picture = over(picture, band * 0.75, (0.62, 0.58, 0.72))
    stars = np.zeros_like(X_HW)
    rows, columns = rng.integers(0, 270, 900), rng.integers(0, WIDTH_PX, 900)
    stars[rows, columns] = rng.random(900) ** 4
    stars = np.clip(stars + 4 * gaussian_filter(stars, 0.9), 0, 1)
    picture = over(picture, stars, (1.0, 0.97, 0.92))
    picture = over(picture, below(0.93 - 0.2 * line_noise(rng, 4, 5)), (0.01, 0.015, 0.03))
    for x in rng.uniform(0, 1, 26):
        height = rng.uniform(0.05, 0.16)
        tree = (np.abs(X_HW - x) * ASPECT < 0.32 * (Y_HW - (0.93 - height))) & (Y_HW > 0.93 - height)
        picture = over(picture, tree.astype(float), (0.0, 0.01, 0.015))
    return picture


def birch_forest(rng: np.random.Generator) -> np.ndarray:
    leaves = noise(rng, 20, 30, 3)[..., None]
    picture = gradient(
        (0, (0.78, 0.72, 0.3)), (0.6, (0.62, 0.55, 0.2)), (0.8, (0.4, 0.26, 0.1)), (1, (0.2, 0.12, 0.05))
    )
    picture = np.clip(picture * (0.6 + 0.75 * leaves), 0, 1)
    for depth in np.sort(rng.random(22)):
        x, width = rng.uniform(-0.02, 1.02), 0.012 + 0.05 * depth**2
        lean = rng.normal(0, 0.02)
        trunk = stroke(x + lean, -0.1, x, 0.66 + 0.38 * depth, width)
        bark = 0.72 + 0.28 * depth - 0.5 * (noise(rng, 60, 12, 2) > 0.72)
        side = np.clip((X_HW - x) * ASPECT / width + 0.5, 0, 1)
        picture = over(picture, trunk, (bark * (1 - 0.4 * side))[..., None] * np.array([0.95, 0.93, 0.88]))
    for _ in range(420):
        x, y = rng.random(), rng.beta(1, 3) * 0.62
        gold = (rng.uniform(0.75, 1.0), rng.uniform(0.5, 0.85), rng.uniform(0.05, 0.25))
        rows, columns = slice(int(y * 320), int(y * 320) + 4), slice(int(x * 476), int(x * 476) + 5)
        picture[rows, columns] = gold
    return picture


def checker_hall(rng: np.random.Generator) -> np.ndarray:
    horizon = 0.42
    wall = gradient((0, (0.34, 0.4, 0.46)), (horizon, (0.72, 0.74, 0.72))) * (0.92 + 0.12 * noise(rng, 8, 8)[..., None])
    depth = 0.09 / np.clip(Y_HW - horizon, 1e-3, None)  # a floor seen in perspective
    across = (X_HW - 0.5) * ASPECT * depth / 0.09
    tiles = (np.floor(across * 1.6) + np.floor(depth * 9)) % 2
    light = np.clip(1.15 - 0.35 * depth, 0.35, 1)
    floor = np.where(tiles[..., None] > 0, (0.93, 0.9, 0.84), (0.13, 0.14, 0.18)) * light[..., None]
    picture = over(wall, below(np.full(WIDTH_PX, horizon)), floor)
    for x in (0.08, 0.27, 0.73, 0.92):
        size = 0.35 + 1.3 * abs(x - 0.5)
        pillar = (np.abs(X_HW - x) < 0.028 * size * 1.6) & (Y_HW < horizon + 0.22 * size)
        round_shade = np.cos(np.clip((X_HW - x) / (0.03 * size * 1.6), -1, 1) * 1.3 + 0.4)
        picture = over(picture, pillar.astype(float), np.clip(round_shade, 0.1, 1)[..., None] * [0.86, 0.82, 0.74])
    return over(picture, glow(0.5, 0.4, 0.25) * 0.8, (1.0, 0.95, 0.82))


def city_bokeh(rng: np.random.Generator) -> np.ndarray:
    picture = gradient((0, (0.03, 0.04, 0.1)), (0.6, (0.1, 0.08, 0.16)), (1, (0.02, 0.02, 0.04)))
    hues = ((1.0, 0.72, 0.3), (1.0, 0.35, 0.2), (0.4, 0.65, 1.0), (0.95, 0.9, 0.75), (0.3, 0.9, 0.6))
    for _ in range(85):
        x, y, radius = rng.random(), rng.normal(0.55, 0.16), rng.uniform(0.015, 0.085)
        colour = hues[rng.choice(5, p=(0.4, 0.2, 0.15, 0.15, 0.1))]
        dab(picture, x, y, radius, colour, strength=rng.uniform(0.2, 0.65), rim=0.15)
    return picture


def portrait(rng: np.random.Generator) -> np.ndarray:
    picture = gradient((0, (0.3, 0.36, 0.36)), (1, (0.16, 0.18, 0.2))) * (0.8 + 0.4 * noise(rng, 3, 4, 3)[..., None])
    picture = over(picture, glow(0.35, 0.3, 0.55) * 0.5, (0.62, 0.58, 0.5))
    picture = over(picture, disc(0.5, 1.12, 0.42, 0.02, 1.15), (0.24, 0.12, 0.17))
    picture = over(picture, disc(0.5, 0.42, 0.285, 0.03, 0.86), (0.16, 0.09, 0.06))
    picture = over(picture, disc(0.5, 0.74, 0.115, 0.02, 1.0), (0.7, 0.47, 0.37))
    light = np.clip(0.95 - 0.9 * (X_HW - 0.46) * ASPECT, 0.45, 1.1)
    skin = np.array([0.93, 0.7, 0.57]) * light[..., None]
    picture = over(picture, disc(0.5, 0.47, 0.235, 0.015, 0.78), np.clip(skin, 0, 1))
    for x in (0.455, 0.545):
        picture = over(picture, disc(x, 0.445, 0.026, 0.006, 1.5), (0.96, 0.95, 0.93))
        picture = over(picture, disc(x, 0.445, 0.019), (0.2, 0.3, 0.28))
        picture = over(picture, stroke(x - 0.026, 0.392, x + 0.026, 0.387, 0.014), (0.18, 0.1, 0.07))
    picture = over(picture, stroke(0.5, 0.46, 0.512, 0.53, 0.016) * 0.4, (0.6, 0.38, 0.3))
    picture = over(picture, disc(0.5, 0.6, 0.021, 0.01, 2.6), (0.72, 0.27, 0.27))
    return gaussian_filter(picture, (0.7, 0.7, 0))


def still_life(rng: np.random.Generator) -> np.ndarray:
    table = gradient((0.55, (0.4, 0.25, 0.14)), (1, (0.6, 0.4, 0.23))) * (0.8 + 0.35 * noise(rng, 40, 3)[..., None])
    wall = gradient((0, (0.16, 0.17, 0.18)), (0.6, (0.4, 0.38, 0.33))) * (0.9 + 0.2 * noise(rng, 5, 5)[..., None])
    picture = over(wall, below(np.full(WIDTH_PX, 0.58)), table)
    fruit = (
        (0.3, 0.6, 0.17, (0.85, 0.16, 0.12)),
        (0.62, 0.57, 0.19, (0.95, 0.58, 0.1)),
        (0.45, 0.7, 0.15, (0.55, 0.72, 0.18)),
        (0.76, 0.72, 0.12, (0.42, 0.14, 0.36)),
        (0.2, 0.75, 0.085, (0.93, 0.82, 0.25)),
    )
    for x, y, radius, colour in fruit:
        shadow = gaussian_filter(disc(x + 0.06, y + radius * 0.85, radius, 0.05, 2.2) * (Y_HW > 0.56), 5)
        picture = over(picture, shadow * 0.45, (0.06, 0.03, 0.02))
        picture = sphere(picture, x, y, radius, colour)
    return picture


def dunes(rng: np.random.Generator) -> np.ndarray:
    picture = gradient((0, (0.28, 0.5, 0.78)), (0.45, (0.82, 0.85, 0.84)))
    for layer in range(4):
        outline = gaussian_filter(0.42 + 0.15 * layer - 0.2 * line_noise(rng, 2, 2), 14)
        slope = np.gradient(outline, 1 / WIDTH_PX)
        ripples = np.sin((Y_HW - outline) * (150 - 25 * layer) + 14 * noise(rng, 5, 7, 3)) * 0.045
        light = np.clip(0.85 - 0.75 * slope[None, :] * np.exp(-4 * (Y_HW - outline)) + ripples, 0.3, 1.1)
        picture = over(picture, below(outline), np.clip(light[..., None] * [0.94, 0.68, 0.38], 0, 1))
    return picture


def flower_meadow(rng: np.random.Generator) -> np.ndarray:
    picture = gradient(
        (0, (0.5, 0.74, 0.95)), (0.3, (0.86, 0.93, 0.96)), (0.34, (0.36, 0.58, 0.22)), (1, (0.1, 0.3, 0.08))
    )
    grass = np.clip(noise(rng, 16, 110, 2), 0, 1)[..., None]
    picture = np.where(Y_HW[..., None] > 0.34, picture * (0.6 + 0.8 * grass), picture)
    hues = ((0.9, 0.12, 0.16), (0.96, 0.86, 0.2), (0.62, 0.3, 0.8), (0.98, 0.97, 0.95), (0.95, 0.45, 0.6))
    for depth in np.sort(rng.random(150)):
        x, y, size = rng.random(), 0.36 + 0.64 * depth, 0.006 + 0.032 * depth**1.5
        colour = hues[rng.integers(5)]
        for angle in np.arange(5) * 2 * np.pi / 5 + rng.random():
            dab(picture, x + np.cos(angle) * size / ASPECT, y + np.sin(angle) * size, size * 0.7, colour)
        dab(picture, x, y, size * 0.5, (0.95, 0.75, 0.15))
    return np.clip(picture, 0, 1)


def snow_mountain(rng: np.random.Generator) -> np.ndarray:
    picture = gradient((0, (0.16, 0.36, 0.68)), (0.7, (0.72, 0.84, 0.94)))
    for layer, (base, height) in enumerate(((0.7, 0.5), (0.86, 0.45))):
        outline = base - height * (line_noise(rng, 3, 7) * (1 - 1.1 * np.abs(np.linspace(-0.6, 0.5, WIDTH_PX))))
        relief = noise(rng, 14, 20, 5)
        face = np.clip(0.5 + 30 * np.gradient(relief, axis=1), 0, 1)
        snow_line = Y_HW - outline < 0.22 + 0.22 * (relief - 0.5)
        rock = (0.2 + 0.25 * face)[..., None] * [0.9, 0.95, 1.08]
        snow = (0.66 + 0.34 * face)[..., None] * [0.94, 0.97, 1.0]
        picture = over(picture, below(outline), np.clip(np.where(snow_line[..., None], snow, rock), 0, 1))
        picture = over(picture, below(outline + 0.12, 0.3) * 0.35 * (1 - layer), (0.75, 0.84, 0.93))
    return picture


def skyline_dusk(rng: np.random.Generator) -> np.ndarray:
    picture = gradient((0, (0.1, 0.11, 0.3)), (0.5, (0.55, 0.3, 0.48)), (0.78, (0.98, 0.62, 0.42)))
    for layer in range(3):
        x = -0.02
        shade = np.array([0.34, 0.24, 0.36]) * (1 - layer * 0.4)
        while x < 1.0:
            width, top = rng.uniform(0.04, 0.1), rng.uniform(0.3, 0.62) + 0.08 * layer
            block = (X_HW >= x) & (X_HW < x + width) & (Y_HW >= top)
            picture = over(picture, block.astype(float), tuple(shade * rng.uniform(0.75, 1.15)))
            columns, rows = int(width * 90), 26
            lit = rng.random((rows, columns)) < 0.06 + 0.11 * layer
            column = np.clip(((X_HW - x) * 90).astype(int), 0, columns - 1)
            row = np.clip(((Y_HW - top) * 45).astype(int), 0, rows - 1)
            pane = ((X_HW - x) * 90 % 1 > 0.3) & ((Y_HW - top) * 45 % 1 > 0.4)
            picture = over(picture, (block & pane & lit[row, column]).astype(float), (1.0, 0.84, 0.5))
            x += width + rng.uniform(0, 0.012)
    return picture


def woven_cloth(rng: np.random.Generator) -> np.ndarray:
    threads = 46
    u, v = X_HW * threads * ASPECT, Y_HW * threads
    upper = (np.floor(u) + np.floor(v)) % 2 > 0
    warp = np.abs(np.sin(np.pi * u)) * (0.6 + 0.4 * np.abs(np.sin(np.pi * v)))
    weft = np.abs(np.sin(np.pi * v)) * (0.6 + 0.4 * np.abs(np.sin(np.pi * u)))
    palette = np.array([(0.62, 0.1, 0.14), (0.1, 0.2, 0.42), (0.9, 0.82, 0.62), (0.12, 0.36, 0.28), (0.85, 0.55, 0.15)])
    bands = np.repeat(rng.permutation(np.arange(30) % 5), 5)
    warp_colour = palette[bands[np.floor(u).astype(int) % 150]]
    weft_colour = palette[bands[np.floor(v).astype(int) % 150]]
    picture = np.where(upper[..., None], warp_colour * warp[..., None], weft_colour * weft[..., None])
    return np.clip(picture * (0.85 + 0.3 * noise(rng, 4, 6)[..., None]), 0, 1)


@dataclass(frozen=True)
class SyntheticScene:
    """One generated scene; `contents` are the kinds of thing that it shows."""

    name: str
    painter: Painter
    contents: tuple[str, ...]

    def load(self, long_side_px: int) -> Image.Image:
        """Painted, and scaled down until its longer side has `long_side_px`; always the same picture."""
        seed = [ord(letter) for letter in self.name]
        canvas_HWC = np.clip(self.painter(np.random.default_rng(seed)), 0, 1)
        picture = Image.fromarray(np.round(canvas_HWC * 255).astype(np.uint8))
        picture.thumbnail((long_side_px, long_side_px), Image.Resampling.LANCZOS)
        return picture


SYNTHETIC_SCENES = (
    SyntheticScene("sunset_sea", sunset_sea, ("landscape", "water")),
    SyntheticScene("misty_hills", misty_hills, ("landscape",)),
    SyntheticScene("starry_night", starry_night, ("night", "landscape")),
    SyntheticScene("birch_forest", birch_forest, ("landscape", "plant")),
    SyntheticScene("checker_hall", checker_hall, ("building", "pattern")),
    SyntheticScene("city_bokeh", city_bokeh, ("night", "pattern")),
    SyntheticScene("portrait", portrait, ("person",)),
    SyntheticScene("still_life", still_life, ("object",)),
    SyntheticScene("dunes", dunes, ("landscape",)),
    SyntheticScene("flower_meadow", flower_meadow, ("plant", "landscape")),
    SyntheticScene("snow_mountain", snow_mountain, ("landscape",)),
    SyntheticScene("skyline_dusk", skyline_dusk, ("night", "building")),
    SyntheticScene("woven_cloth", woven_cloth, ("pattern", "close-up")),
)
