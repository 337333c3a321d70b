"""Generated scenes of people and man-made things: rooms, streets, portraits, objects, patterns.

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
    box,
    dab,
    disc,
    glow,
    gradient,
    line_noise,
    noise,
    over,
    sphere,
    streak,
    stroke,
)


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


def skyline_dusk(rng: np.random.Generator) -> np.ndarray:
    picture = gradient((0, (0.1, 0.11, 0.3)), (0.5, (0.55, 0.3, 0.48)), (0.78, (0.98, 0.62, 0.42)))
    pane_w, pane_h = 0.011, 0.022
    for layer in range(3):
        shade = np.array([0.34, 0.24, 0.36]) * (1 - layer * 0.4)
        left = -0.02
        while left < 1.0:
            width, top = rng.uniform(0.04, 0.1), rng.uniform(0.3, 0.62) + 0.08 * layer
            box(picture, left, top, left + width, 1, shade * rng.uniform(0.75, 1.15))
            for column in range(int(width / pane_w)):
                for row in np.flatnonzero(rng.random(26) < 0.06 + 0.11 * layer):
                    x, y = left + (column + 0.3) * pane_w, top + (row + 0.4) * pane_h
                    box(picture, x, y, x + 0.7 * pane_w, y + 0.6 * pane_h, (1.0, 0.84, 0.5))
            left += width + rng.uniform(0, 0.012)
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


def brick_wall(rng: np.random.Generator) -> np.ndarray:
    v = Y_HW * 11
    u = X_HW * ASPECT * 5 + 0.5 * (np.floor(v) % 2)
    mortar = (v % 1 < 0.09) | (u % 1 < 0.045)
    tone = rng.uniform(0.65, 1.15, (12, 12))[np.floor(v).astype(int) % 12, np.floor(u).astype(int) % 12]
    rough = 0.75 + 0.5 * noise(rng, 60, 90, 3)
    brick = np.array([0.66, 0.3, 0.21]) * (tone * rough)[..., None]
    picture = np.where(mortar[..., None], np.array([0.72, 0.69, 0.64]) * rough[..., None], brick)
    return np.clip(picture * (0.7 + 0.5 * glow(0.3, 0.2, 0.9))[..., None], 0, 1)


def stained_glass(rng: np.random.Generator) -> np.ndarray:
    points = (rng.random((90, 2)) * [ASPECT, 1]).astype(np.float32)
    apart_HWN = np.hypot(
        X_HW[..., None].astype(np.float32) * ASPECT - points[:, 0], Y_HW[..., None].astype(np.float32) - points[:, 1]
    )
    nearest = np.argmin(apart_HWN, axis=-1)
    two_HW2 = np.partition(apart_HWN, 1, axis=-1)[..., :2]
    glass = rng.random((90, 3)) ** 1.3 * 0.9 + 0.1
    picture = (
        glass[nearest] * (0.6 + 0.6 * glow(0.5, 0.4, 0.6))[..., None] * (0.8 + 0.3 * noise(rng, 30, 30, 2)[..., None])
    )
    return over(
        np.clip(picture, 0, 1), np.clip((0.02 - (two_HW2[..., 1] - two_HW2[..., 0])) / 0.006, 0, 1), (0.04, 0.04, 0.05)
    )


def balloons(rng: np.random.Generator) -> np.ndarray:
    picture = gradient((0, (0.3, 0.58, 0.92)), (0.8, (0.85, 0.93, 0.97)))
    picture = over(picture, np.clip(noise(rng, 6, 4) - 0.5, 0, 1) * 1.7, (1.0, 1.0, 1.0))
    picture = over(picture, below(0.93 - 0.1 * line_noise(rng, 3, 4)), (0.34, 0.5, 0.26))
    for size in np.sort(rng.uniform(0.05, 0.17, 7)):
        x, y = rng.uniform(0.1, 0.9), rng.uniform(0.15, 0.65)
        stripes = np.floor(np.arcsin(np.clip((X_HW - x) * ASPECT / size, -1, 1)) * 2.6 + 9).astype(int) % 3
        panel = rng.uniform(0.1, 1.0, (3, 3))[stripes]
        light = np.clip(1.05 - 0.45 * ((X_HW - x) * ASPECT + (Y_HW - y)) / size, 0.4, 1.15)[..., None]
        for end in (-0.25, 0.25):
            streak(picture, x + end * size / ASPECT, y + 0.9 * size, x, y + 1.5 * size, 0.005, (0.25, 0.2, 0.15))
        picture = over(picture, disc(x, y, size), np.clip(panel * light, 0, 1))
        picture = over(picture, stroke(x, y + 1.45 * size, x, y + 1.52 * size, 0.26 * size), (0.4, 0.26, 0.14))
    return picture


def candlelight(rng: np.random.Generator) -> np.ndarray:
    picture = gradient((0, (0.05, 0.025, 0.02)), (0.75, (0.12, 0.06, 0.03)), (1, (0.2, 0.1, 0.05)))
    picture = picture * (0.75 + 0.5 * noise(rng, 5, 6)[..., None])
    for x, foot, height in ((0.42, 0.92, 0.42), (0.6, 0.88, 0.28), (0.27, 0.86, 0.2)):
        top = foot - height
        picture = over(picture, glow(x, top - 0.06, 0.34) * 0.55, (1.0, 0.6, 0.2))
        shade = np.clip(1.1 - 1.1 * (Y_HW - top) / height, 0.25, 1)[..., None]
        picture = over(picture, stroke(x, top + 0.03, x, foot, 0.075), shade * [0.96, 0.85, 0.66])
        picture = over(picture, disc(x, top - 0.06, 0.062, 0.02, 0.42), (1.0, 0.72, 0.22))
        picture = over(picture, disc(x, top - 0.045, 0.036, 0.02, 0.42), (1.0, 0.97, 0.82))
    return picture


def rainy_window(rng: np.random.Generator) -> np.ndarray:
    picture = gradient((0, (0.12, 0.16, 0.22)), (0.5, (0.22, 0.27, 0.32)), (1, (0.08, 0.1, 0.13)))
    for _ in range(26):
        colour = ((1.0, 0.7, 0.3), (0.9, 0.2, 0.15), (0.6, 0.8, 1.0))[rng.integers(3)]
        dab(picture, rng.random(), rng.normal(0.5, 0.14), rng.uniform(0.03, 0.09), colour, rng.uniform(0.3, 0.8))
    behind = gaussian_filter(picture, (5, 5, 0))
    picture = behind.copy()
    for _ in range(420):
        x, y, size = rng.random(), rng.random(), 0.003 + 0.015 * rng.random() ** 3
        through = behind[min(int((1 - y) * HEIGHT_PX), HEIGHT_PX - 1), min(int((1 - x) * WIDTH_PX), WIDTH_PX - 1)]
        dab(picture, x, y, size, tuple(np.clip(through * 1.25, 0, 1)), 0.85)
        dab(picture, x - 0.3 * size / ASPECT, y - 0.35 * size, size * 0.3, (0.95, 0.97, 1.0), 0.8)
    return picture


def winter_house(rng: np.random.Generator) -> np.ndarray:
    picture = gradient((0, (0.3, 0.38, 0.56)), (0.6, (0.78, 0.74, 0.8)))
    picture = over(picture, below(0.62 - 0.14 * line_noise(rng, 8, 5)), (0.36, 0.42, 0.5))
    ground = 0.68 - 0.04 * gaussian_filter(line_noise(rng, 3, 2), 9)
    picture = over(picture, below(ground), gradient((0.62, (0.82, 0.86, 0.93)), (1, (0.97, 0.97, 1.0))))
    left = rng.uniform(0.25, 0.5)
    wall = (X_HW > left) & (X_HW < left + 0.27) & (Y_HW > 0.47) & (Y_HW < 0.75)
    boards = 0.85 + 0.15 * (Y_HW * 60 % 1 > 0.2)
    picture = over(picture, wall.astype(float), boards[..., None] * [0.58, 0.2, 0.16])
    roof = (Y_HW > 0.29 + 1.0 * np.abs(X_HW - left - 0.135)) & (Y_HW < 0.48)
    picture = over(picture, roof.astype(float), (0.93, 0.95, 0.98))
    for x in (left + 0.045, left + 0.165):
        pane = (X_HW > x) & (X_HW < x + 0.06) & (Y_HW > 0.54) & (Y_HW < 0.64)
        picture = over(picture, glow(x + 0.03, 0.59, 0.13) * 0.5, (1.0, 0.75, 0.35))
        picture = over(picture, pane.astype(float), (1.0, 0.86, 0.5))
    for x in rng.uniform(0, 1, 7):
        tall = rng.uniform(0.16, 0.34)
        tiers = 0.2 * ((Y_HW - 0.72 + tall) % (tall / 4)) + 0.16 * (Y_HW - 0.72 + tall)
        tree = (np.abs(X_HW - x) * ASPECT < tiers) & (Y_HW > 0.72 - tall) & (Y_HW < 0.72)
        picture = over(picture, tree.astype(float), (0.12, 0.24, 0.2))
    for _ in range(260):
        dab(picture, rng.random(), rng.random(), rng.uniform(0.002, 0.008), (1.0, 1.0, 1.0), rng.uniform(0.4, 0.95))
    return picture


def bookshelf(rng: np.random.Generator) -> np.ndarray:
    picture = np.broadcast_to([0.12, 0.075, 0.045], (HEIGHT_PX, WIDTH_PX, 3)).copy()
    for shelf in range(3):
        floor = 0.3 + 0.33 * shelf
        left = 0  # in pixels: a spine is shaded column by column
        while left < WIDTH_PX - 4:
            width, height = int(rng.integers(7, 22)), rng.uniform(0.18, 0.27)
            right = min(left + width, WIDTH_PX - 1)
            colour = np.array([rng.uniform(0.15, 0.9), rng.uniform(0.1, 0.6), rng.uniform(0.08, 0.55)])
            shade = 0.5 + 0.55 * np.sin(np.linspace(0.1, np.pi - 0.1, right - left))
            edges = (left / WIDTH_PX, right / WIDTH_PX)
            box(picture, edges[0], floor - height, edges[1], floor, np.clip(shade[:, None] * colour, 0, 1))
            band = floor - height * rng.uniform(0.25, 0.85)
            box(picture, edges[0], band, edges[1], band + 0.02, shade[:, None] * [0.9, 0.75, 0.4] * 0.9)
            left = right + 1
        box(picture, 0, floor, 1, floor + 0.03, (0.46, 0.29, 0.16))
    return picture * (0.6 + 0.55 * glow(0.5, 0.2, 0.9))[..., None]


def walkers(rng: np.random.Generator) -> np.ndarray:
    picture = gradient((0, (0.98, 0.72, 0.4)), (0.7, (1.0, 0.88, 0.66)))
    picture = over(picture, glow(0.7, 0.45, 0.35) * 0.8, (1.0, 0.97, 0.85))
    picture = over(picture, below(np.full(WIDTH_PX, 0.76)), gradient((0.76, (0.66, 0.5, 0.34)), (1, (0.3, 0.2, 0.16))))
    for x in np.sort(rng.uniform(0.08, 0.92, 7)):
        tall, ink = rng.uniform(0.24, 0.42), (0.1, 0.07, 0.08)
        foot = 0.7 + 0.45 * tall
        hip, neck = foot - 0.47 * tall, foot - 0.83 * tall
        step = rng.uniform(0.04, 0.13) * tall
        for side in (-1, 1):
            streak(picture, x, hip, x + side * step, foot, 0.085 * tall, ink)
            streak(picture, x, neck + 0.06 * tall, x + side * step * 1.1, hip, 0.06 * tall, ink)
        streak(picture, x, neck + 0.05 * tall, x, hip, 0.17 * tall, ink)
        dab(picture, x, foot - 0.91 * tall, 0.075 * tall, ink)
    return picture
