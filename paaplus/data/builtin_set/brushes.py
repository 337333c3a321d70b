"""Brushes for generated scenes: smooth noise, gradients, soft shapes, layers.

Shape letters: H, W = canvas height and width in pixels, C = 3 colour channels from 0 to 1.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

HEIGHT_PX, WIDTH_PX = 320, 480

Colour = tuple[float, float, float]
# Canvas coordinates from 0 (top, left) to 1 (bottom, right).
Y_HW, X_HW = np.meshgrid(np.linspace(0, 1, HEIGHT_PX), np.linspace(0, 1, WIDTH_PX), indexing="ij")
ASPECT = WIDTH_PX / HEIGHT_PX


def noise(rng: np.random.Generator, cells_y: int, cells_x: int, octaves: int = 4) -> np.ndarray:
    """Fractal value noise from 0 to 1, shape (H, W); the first octave has `cells_y` x `cells_x` cells."""
    total_HW = np.zeros((HEIGHT_PX, WIDTH_PX))
    for octave in range(octaves):
        ny, nx = cells_y * 2**octave + 1, cells_x * 2**octave + 1
        if ny > HEIGHT_PX or nx > WIDTH_PX:
            break
        grid = rng.random((ny, nx))
        smooth_HW = zoom(grid, (HEIGHT_PX / ny, WIDTH_PX / nx), order=1)[:HEIGHT_PX, :WIDTH_PX]
        total_HW += 0.5**octave * smooth_HW
    total_HW = gaussian_filter(total_HW, 1.0)
    low, high = total_HW.min(), total_HW.max()
    return (total_HW - low) / (high - low)


def line_noise(rng: np.random.Generator, cells: int, octaves: int = 4) -> np.ndarray:
    """Fractal noise along the width from 0 to 1, shape (W,): the outline of a ridge."""
    total_W = np.zeros(WIDTH_PX)
    position_W = np.linspace(0, 1, WIDTH_PX)
    for octave in range(octaves):
        n = cells * 2**octave + 1
        total_W += 0.5**octave * np.interp(position_W, np.linspace(0, 1, n), rng.random(n))
    return (total_W - total_W.min()) / (total_W.max() - total_W.min())


def gradient(*stops: tuple[float, Colour]) -> np.ndarray:
    """A vertical gradient through stops (distance from the top, colour), shape (H, W, C)."""
    heights = [height for height, _ in stops]
    return np.stack([np.interp(Y_HW, heights, [colour[c] for _, colour in stops]) for c in range(3)], axis=-1)


def over(canvas_HWC: np.ndarray, alpha_HW: np.ndarray, paint: Colour | np.ndarray) -> np.ndarray:
    """The canvas with paint (one colour or a picture) blended over it by alpha, shape (H, W, C)."""
    alpha_HW1 = np.clip(alpha_HW, 0, 1)[..., None]
    return canvas_HWC * (1 - alpha_HW1) + np.asarray(paint, float) * alpha_HW1


def distance(x: float, y: float, stretch: float = 1.0) -> np.ndarray:
    """Distance of each pixel to a point, in units of the height, shape (H, W); `stretch` > 1 gives wide ellipses."""
    return np.hypot((X_HW - x) * ASPECT / stretch, Y_HW - y)


def disc(x: float, y: float, radius: float, softness: float = 0.008, stretch: float = 1.0) -> np.ndarray:
    """Alpha of a disc with a soft rim, shape (H, W)."""
    return np.clip((radius - distance(x, y, stretch)) / softness + 0.5, 0, 1)


def dab(
    canvas_HWC: np.ndarray, x: float, y: float, radius: float, colour: Colour, strength: float = 1.0, rim: float = 0.0
) -> None:
    """Paint one disc in place. Only the pixels around it are computed, which is fast for hundreds of discs.

    `rim` is added to the strength along the edge, as at the edge of an out-of-focus light.
    """
    reach = radius + 0.01
    rows = slice(max(int((y - reach) * HEIGHT_PX), 0), max(int((y + reach) * HEIGHT_PX) + 2, 0))
    columns = slice(max(int((x - reach / ASPECT) * WIDTH_PX), 0), max(int((x + reach / ASPECT) * WIDTH_PX) + 2, 0))
    apart = np.hypot((X_HW[rows, columns] - x) * ASPECT, Y_HW[rows, columns] - y)
    alpha = np.clip((radius - apart) / 0.008 + 0.5, 0, 1) * strength
    alpha = np.clip(alpha + rim * np.clip(1 - np.abs(apart - radius) / 0.008, 0, 1), 0, 1)[..., None]
    canvas_HWC[rows, columns] = canvas_HWC[rows, columns] * (1 - alpha) + np.asarray(colour) * alpha


def box(
    canvas_HWC: np.ndarray, left: float, top: float, right: float, bottom: float, paint: Colour | np.ndarray
) -> None:
    """Paint a rectangle in place; `paint` is one colour, or one colour per column."""
    rows = slice(max(round(top * HEIGHT_PX), 0), max(round(bottom * HEIGHT_PX), 0))
    columns = slice(max(round(left * WIDTH_PX), 0), max(round(right * WIDTH_PX), 0))
    canvas_HWC[rows, columns] = paint


def glow(x: float, y: float, radius: float) -> np.ndarray:
    """A Gaussian light around a point, 1 at its centre, shape (H, W)."""
    return np.exp(-((distance(x, y) / radius) ** 2))


def below(outline_W: np.ndarray, softness: float = 0.006) -> np.ndarray:
    """Alpha of everything below an outline, which is given as distances from the top, shape (H, W)."""
    return np.clip((Y_HW - outline_W[None, :]) / softness + 0.5, 0, 1)


def stroke(x0: float, y0: float, x1: float, y1: float, width: float) -> np.ndarray:
    """Alpha of a straight stroke with round ends, shape (H, W)."""
    return _stroke_alpha(X_HW, Y_HW, x0, y0, x1, y1, width)


def _stroke_alpha(
    x_HW: np.ndarray, y_HW: np.ndarray, x0: float, y0: float, x1: float, y1: float, width: float
) -> np.ndarray:
    dx, dy = (x1 - x0) * ASPECT, y1 - y0
    px, py = (x_HW - x0) * ASPECT, y_HW - y0
    along = np.clip((px * dx + py * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
    return np.clip((width / 2 - np.hypot(px - along * dx, py - along * dy)) / 0.004 + 0.5, 0, 1)


def streak(canvas_HWC: np.ndarray, x0: float, y0: float, x1: float, y1: float, width: float, colour: Colour) -> None:
    """Paint a straight stroke in place. Only the pixels around it are computed."""
    reach = width / 2 + 0.01
    rows = slice(max(int((min(y0, y1) - reach) * HEIGHT_PX), 0), max(int((max(y0, y1) + reach) * HEIGHT_PX) + 2, 0))
    columns = slice(
        max(int((min(x0, x1) - reach / ASPECT) * WIDTH_PX), 0),
        max(int((max(x0, x1) + reach / ASPECT) * WIDTH_PX) + 2, 0),
    )
    alpha = _stroke_alpha(X_HW[rows, columns], Y_HW[rows, columns], x0, y0, x1, y1, width)[..., None]
    canvas_HWC[rows, columns] = canvas_HWC[rows, columns] * (1 - alpha) + np.asarray(colour) * alpha


def sphere(canvas_HWC: np.ndarray, x: float, y: float, radius: float, colour: Colour, gloss: float = 0.5) -> np.ndarray:
    """The canvas with a ball that is lit from the upper left, with a highlight and a darker rim, shape (H, W, C)."""
    nx, ny = (X_HW - x) * ASPECT / radius, (Y_HW - y) / radius
    nz = np.sqrt(np.clip(1 - nx * nx - ny * ny, 0, 1))
    light = np.clip(-0.5 * nx - 0.55 * ny + 0.67 * nz, 0, 1)
    shade_HWC = np.asarray(colour) * (0.18 + 0.9 * light)[..., None] + gloss * (light**24)[..., None]
    return over(canvas_HWC, disc(x, y, radius), np.clip(shade_HWC, 0, 1))
