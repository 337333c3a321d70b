"""Generated scenes of nature: sky, land, water, plants, animals.

Each function draws one picture, shape (H, W, 3) from 0 to 1; the random generator decides its layout.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from paaplus.data.builtin_set.brushes import (
    ASPECT,
    HEIGHT_PX,
    WIDTH_PX,
    X_HW,
    Y_HW,
    below,
    dab,
    disc,
    distance,
    glow,
    gradient,
    line_noise,
    noise,
    over,
    streak,
    stroke,
)


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
    patches = 0.5 * (noise(rng, 60, 12, 2) > 0.72)
    for depth in np.sort(rng.random(22)):
        x, width = rng.uniform(-0.02, 1.02), 0.012 + 0.05 * depth**2
        lean = rng.normal(0, 0.02)
        trunk = stroke(x + lean, -0.1, x, 0.66 + 0.38 * depth, width)
        bark = 0.72 + 0.28 * depth - patches
        side = np.clip((X_HW - x) * ASPECT / width + 0.5, 0, 1)
        picture = over(picture, trunk, (bark * (1 - 0.4 * side))[..., None] * np.array([0.95, 0.93, 0.88]))
    for _ in range(420):
        x, y = rng.random(), rng.beta(1, 3) * 0.62
        gold = (rng.uniform(0.75, 1.0), rng.uniform(0.5, 0.85), rng.uniform(0.05, 0.25))
        rows, columns = slice(int(y * 320), int(y * 320) + 4), slice(int(x * 476), int(x * 476) + 5)
        picture[rows, columns] = gold
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


def aurora(rng: np.random.Generator) -> np.ndarray:
    picture = gradient((0, (0.01, 0.02, 0.08)), (0.8, (0.03, 0.09, 0.16)))
    for colour, strength in (((0.2, 0.95, 0.55), 1.0), ((0.55, 0.25, 0.85), 0.6), ((0.25, 0.8, 0.8), 0.6)):
        foot = gaussian_filter(0.35 + 0.4 * line_noise(rng, 4, 2), 8)
        height = foot - Y_HW
        rays = 0.55 + 0.45 * gaussian_filter(rng.random(WIDTH_PX), 2.5, mode="wrap") * 2
        curtain = np.where(height > 0, np.exp(-height / 0.2), np.exp(height / 0.025)) * rays
        picture = over(picture, np.clip(curtain * strength * 0.75, 0, 0.95), colour)
    snow = 0.84 - 0.06 * gaussian_filter(line_noise(rng, 3, 2), 12)
    return over(picture, below(snow), np.clip(gradient((0.78, (0.3, 0.5, 0.5)), (1, (0.07, 0.14, 0.2))), 0, 1))


def coral_reef(rng: np.random.Generator) -> np.ndarray:
    picture = gradient((0, (0.45, 0.85, 0.9)), (0.45, (0.08, 0.45, 0.66)), (1, (0.01, 0.13, 0.28)))
    fan = np.arctan2((X_HW - 0.4) * ASPECT, Y_HW + 0.3)
    beams = np.interp(fan, np.linspace(-1.3, 1.3, 60), gaussian_filter(rng.random(60), 1))
    picture = over(picture, np.clip((beams - 0.45) * 2.5, 0, 1) * np.exp(-2.2 * Y_HW), (0.8, 0.98, 0.95))
    for _ in range(24):
        x, y = rng.random(), rng.uniform(0.82, 1.0)
        colour = (rng.uniform(0.5, 1), rng.uniform(0.15, 0.6), rng.uniform(0.25, 0.7))
        for angle in rng.normal(-np.pi / 2, 0.5, 7):
            length, width = rng.uniform(0.04, 0.16), rng.uniform(0.01, 0.025)
            streak(picture, x, y, x + np.cos(angle) * length / ASPECT, y + np.sin(angle) * length, width, colour)
    for _ in range(15):
        x, y, size = rng.random(), rng.uniform(0.2, 0.75), rng.uniform(0.012, 0.034)
        colour = (rng.uniform(0.7, 1), rng.uniform(0.5, 0.9), rng.uniform(0.1, 0.5))
        picture = over(picture, disc(x, y, size, 0.006, 1.9), colour)
        tail = (X_HW > x + size) & (X_HW < x + size * 1.9) & (np.abs(Y_HW - y) < (X_HW - x - size * 0.7) * 0.9)
        picture = over(picture, tail.astype(float), colour)
        dab(picture, x - size * 0.7, y - size * 0.2, size * 0.18, (0.05, 0.05, 0.08))
    return picture


def mirror_lake(rng: np.random.Generator) -> np.ndarray:
    shore = 0.52
    picture = gradient((0, (0.35, 0.58, 0.85)), (shore, (0.95, 0.86, 0.76)))
    picture = over(picture, np.clip(noise(rng, 8, 5) - 0.5, 0, 1) * 1.6, (1.0, 0.97, 0.93))
    for layer, colour in enumerate(((0.44, 0.5, 0.6), (0.25, 0.38, 0.34), (0.1, 0.22, 0.14))):
        rough = line_noise(rng, 4 + 12 * layer, 6)
        picture = over(picture, below(shore - (0.26 - 0.08 * layer) * rough), colour)
    rows = np.arange(HEIGHT_PX)
    edge = int(shore * HEIGHT_PX)
    ripple = np.round(2.2 * np.sin(rows * 1.7) * (rows - edge) / edge).astype(int)
    mirrored = picture[np.clip(2 * edge - rows + ripple, 0, edge - 1)]
    return over(picture, below(np.full(WIDTH_PX, shore)), mirrored * [0.72, 0.82, 0.88])


def spiral_galaxy(rng: np.random.Generator) -> np.ndarray:
    x, y = (X_HW - 0.5) * ASPECT, (Y_HW - 0.5) * 1.7
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    arms = (0.5 + 0.5 * np.cos(2 * angle - 9 * np.log(radius + 0.04))) ** 2
    dust = 0.35 + 0.9 * noise(rng, 20, 28, 4)
    disk = arms * dust * np.exp(-radius / 0.24)
    picture = gradient((0, (0.01, 0.01, 0.025)), (1, (0.02, 0.01, 0.03)))
    picture = over(picture, np.clip(disk * 1.9, 0, 1), (0.45, 0.55, 0.95))
    picture = over(picture, np.clip(arms * np.exp(-radius / 0.13) * 1.2, 0, 1), (0.95, 0.65, 0.7))
    for _ in range(160):
        dab(picture, rng.random(), rng.random(), rng.uniform(0.001, 0.006), (1.0, 0.95, 0.88), rng.uniform(0.3, 1))
    return over(picture, np.clip(1.3 * np.exp(-((radius / 0.07) ** 2)), 0, 1), (1.0, 0.93, 0.75))


def leaf_veins(rng: np.random.Generator) -> np.ndarray:
    tilt = 0.3 + rng.normal(0, 0.1)
    along = X_HW + tilt * (Y_HW - 0.5)
    across = (Y_HW - 0.5) - tilt * (X_HW - 0.5)
    picture = gradient((0, (0.4, 0.68, 0.16)), (1, (0.14, 0.42, 0.1))) * (0.75 + 0.4 * noise(rng, 30, 45, 3)[..., None])
    phase = (along - 0.8 * np.abs(across)) * 11 + 0.15 * noise(rng, 4, 4)
    side_vein = np.clip(1 - np.abs(phase % 1 - 0.5) / 0.07, 0, 1)
    cells = np.clip(1 - 3.2 * np.abs(noise(rng, 60, 80, 1) - 0.5), 0, 1)
    picture = over(picture, cells * 0.25, (0.62, 0.85, 0.35))
    picture = over(picture, side_vein * 0.75, (0.75, 0.9, 0.45))
    picture = over(picture, np.clip(1 - np.abs(across) / 0.022, 0, 1), (0.86, 0.95, 0.58))
    for _ in range(18):
        dew_x, dew_y, size = rng.random(), rng.random(), rng.uniform(0.012, 0.04)
        dab(picture, dew_x, dew_y, size, (0.7, 0.88, 0.55), 0.5, rim=0.25)
        dab(picture, dew_x - size * 0.3 / ASPECT, dew_y - size * 0.35, size * 0.22, (1.0, 1.0, 1.0), 0.95)
    return np.clip(picture, 0, 1)


def lavender_rows(rng: np.random.Generator) -> np.ndarray:
    horizon = 0.36
    picture = gradient((0, (0.55, 0.7, 0.92)), (horizon, (1.0, 0.87, 0.72)))
    picture = over(picture, below(horizon - 0.08 * line_noise(rng, 3, 4)), (0.42, 0.46, 0.6))
    depth = 0.1 / np.clip(Y_HW - horizon, 2e-3, None)
    across = (X_HW - 0.55) * ASPECT * depth
    row = np.sin(2 * np.pi * across * 4.5) * 0.5 + 0.5
    tufts = noise(rng, 90, 110, 2)
    field = over(
        np.broadcast_to([0.36, 0.42, 0.2], picture.shape),
        np.clip(row * 2.2 - 0.6, 0, 1),
        np.clip((0.45 + 0.8 * tufts)[..., None] * [0.52, 0.34, 0.78], 0, 1),
    )
    return over(picture, below(np.full(WIDTH_PX, horizon)), field)


def butterfly(rng: np.random.Generator) -> np.ndarray:
    picture = gradient((0, (0.5, 0.68, 0.3)), (1, (0.16, 0.36, 0.16))) * (0.6 + 0.6 * noise(rng, 3, 4, 2)[..., None])
    for _ in range(9):
        dab(picture, rng.random(), rng.random(), rng.uniform(0.06, 0.17), (0.8, 0.85, 0.4), 0.25)
    for side in (-1, 1):
        for reach, height, size, stretch in ((0.13, 0.36, 0.19, 0.95), (0.1, 0.63, 0.145, 0.9)):
            x = 0.5 + side * reach
            apart = distance(x, height, stretch)
            veins = 0.75 + 0.25 * np.cos(np.arctan2(Y_HW - 0.5, (X_HW - 0.5) * ASPECT) * 22)
            wing = np.array([0.95, 0.5, 0.1]) * veins[..., None]
            picture = over(picture, disc(x, height, size, 0.012, stretch), (0.08, 0.05, 0.05))
            picture = over(picture, disc(x, height, size * 0.8, 0.02, stretch), np.clip(wing, 0, 1))
            rim = np.clip(1 - np.abs(apart - size * 0.9) / 0.012, 0, 1)
            dots = np.cos(np.arctan2(Y_HW - height, (X_HW - x) * ASPECT) * 16) > 0.6
            picture = over(picture, rim * dots, (0.97, 0.95, 0.88))
        picture = over(picture, stroke(0.5, 0.34, 0.5 + side * 0.05, 0.17, 0.008), (0.06, 0.04, 0.04))
    return over(picture, stroke(0.5, 0.33, 0.5, 0.72, 0.035), (0.1, 0.07, 0.06))


def desert_road(rng: np.random.Generator) -> np.ndarray:
    horizon = 0.45
    picture = gradient((0, (0.2, 0.45, 0.82)), (horizon, (0.85, 0.9, 0.93)))
    picture = over(picture, np.clip(noise(rng, 9, 4) - 0.55, 0, 1) * 2.2, (1.0, 1.0, 1.0))
    picture = over(picture, below(horizon - 0.12 * np.round(6 * line_noise(rng, 4, 3)) / 6), (0.62, 0.36, 0.28))
    depth = 0.1 / np.clip(Y_HW - horizon, 2e-3, None)
    across = (X_HW - 0.5) * ASPECT * depth
    ground = (0.72 + 0.35 * noise(rng, 50, 60, 3))[..., None] * [0.85, 0.6, 0.38]
    ground = over(ground, np.clip((0.085 - np.abs(across)) / 0.004, 0, 1), (0.24, 0.24, 0.26))
    dashes = (np.abs(across) < 0.004) & (depth * 5 % 1 > 0.5)
    ground = over(ground, dashes.astype(float), (0.95, 0.82, 0.3))
    ground = over(ground, (np.abs(np.abs(across) - 0.077) < 0.0025).astype(float), (0.93, 0.93, 0.9))
    return over(picture, below(np.full(WIDTH_PX, horizon)), np.clip(ground, 0, 1))
