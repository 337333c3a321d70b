"""Ordinary image filters with one parameter, and the edits that a robustness study tries.

The formulas are those of kornia 0.6.9, which the attack DA3Attacker uses; `parity.py` runs them on its numbers. A image
is an array of three channels (R, G, B), 0-1. A parameter is 0-1; .5 changes nothing (contrast: 1 / 1.998).

Shape letters: H, W = height and width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_TURN = 2 * np.pi
_GAIN = 1.998  # of contrast, at parameter 1
_SMALL = 1e-4  # added before the power, as kornia's brightness of 0 would have no gradient
_SHARPEN_KERNEL = np.array([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]) / 13.0
_BOX_KERNEL = np.full((3, 3), 1.0 / 9.0)
_EPSILON = 1e-8

Filter = Callable[[np.ndarray, float], np.ndarray]


def contrast(pixel_3HW: np.ndarray, p: float) -> np.ndarray:
    """A plain gain, without a pivot."""
    return np.clip(pixel_3HW * (_GAIN * p), 0.0, 1.0)


def brightness(pixel_3HW: np.ndarray, p: float) -> np.ndarray:
    return np.clip(pixel_3HW + (2.0 * p - 1.0), 0.0, 1.0)


def saturation(pixel_3HW: np.ndarray, p: float) -> np.ndarray:
    hue, share, value = rgb_to_hsv(pixel_3HW)
    return hsv_to_rgb(np.stack([hue, np.clip(share * 2.0 * p, 0.0, 1.0), value]))


def gamma(pixel_3HW: np.ndarray, p: float) -> np.ndarray:
    return np.clip((pixel_3HW + _SMALL) ** (2.0 * p), 0.0, 1.0)


def hue(pixel_3HW: np.ndarray, p: float) -> np.ndarray:
    """Turned by at most one radian either way."""
    angle, share, value = rgb_to_hsv(pixel_3HW)
    return hsv_to_rgb(np.stack([np.fmod(angle + (2.0 * p - 1.0), _TURN), share, value]))


def softer(pixel_3HW: np.ndarray, share: float = 1.0) -> np.ndarray:
    """Half of a smoothed copy; the border stays. `share` mixes it with the image."""
    smooth = pixel_3HW.copy()
    smooth[:, 1:-1, 1:-1] = np.clip(convolved(pixel_3HW, _SHARPEN_KERNEL), 0.0, 1.0)
    return pixel_3HW + share * 0.5 * (smooth - pixel_3HW)


def blur(pixel_3HW: np.ndarray, share: float = 1.0) -> np.ndarray:
    """The mean of 3 x 3 pixels, mirrored at the border. `share` mixes it with the image."""
    padded = np.pad(pixel_3HW, ((0, 0), (1, 1), (1, 1)), mode="reflect")
    return pixel_3HW + share * (convolved(padded, _BOX_KERNEL) - pixel_3HW)


@dataclass(frozen=True)
class Direction:
    """One filter in one direction.

    Attributes:
        filter: name of the filter.
        words: what it does to the image.
        apply: the filtered image, from the image and a strength of 0 (unchanged) to 1.
    """

    filter: str
    words: str
    apply: Filter


def _up(filter_: Filter, neutral: float = 0.5) -> Filter:
    return lambda pixel_3HW, strength: filter_(pixel_3HW, neutral + strength * (1.0 - neutral))


def _down(filter_: Filter, neutral: float = 0.5) -> Filter:
    return lambda pixel_3HW, strength: filter_(pixel_3HW, neutral - strength * neutral)


# The simplest edit first: of two filters that raise scores about equally, the first is named.
DIRECTIONS = (
    Direction("brightness", "brighter", _up(brightness)),
    Direction("brightness", "darker", _down(brightness)),
    Direction("contrast", "more contrast", _up(contrast, 1.0 / _GAIN)),
    Direction("contrast", "less contrast", _down(contrast, 1.0 / _GAIN)),
    Direction("gamma", "lighter mid-tones", _down(gamma)),
    Direction("gamma", "deeper mid-tones", _up(gamma)),
    Direction("saturation", "stronger colours", _up(saturation)),
    Direction("saturation", "weaker colours", _down(saturation)),
    Direction("hue", "colours turned forward", _up(hue)),
    Direction("hue", "colours turned back", _down(hue)),
    Direction("softer", "softer edges", softer),
    Direction("blur", "blurred", blur),
)
FILTERS = tuple(dict.fromkeys(direction.filter for direction in DIRECTIONS))


def rgb_to_hsv(pixel_3HW: np.ndarray) -> np.ndarray:
    """Hue in radians (0 to 2 pi), saturation and value."""
    value = pixel_3HW.max(0)
    chroma = value - pixel_3HW.min(0)
    return np.stack([_hue_angle(pixel_3HW, np.where(chroma == 0.0, 1.0, chroma)), chroma / (value + _EPSILON), value])


def hsv_to_rgb(hsv_3HW: np.ndarray) -> np.ndarray:
    """The inverse of `rgb_to_hsv`; the hue may be any angle."""
    angle, share, value = hsv_3HW
    sixth = 6.0 * angle / _TURN
    floor = np.floor(sixth)
    sector, rest = np.mod(floor, 6.0).astype(np.int64), sixth - floor
    a, b, c = value * (1 - share), value * (1 - rest * share), value * (1 - (1 - rest) * share)
    orders = ((value, c, a), (b, value, a), (a, value, c), (a, b, value), (c, a, value), (value, a, b))
    return np.stack([np.choose(sector, [order[channel] for order in orders]) for channel in range(3)])


def _hue_angle(pixel_3HW: np.ndarray, chroma_HW: np.ndarray) -> np.ndarray:
    """Hue in radians; of equal channels the first decides."""
    red, green, blue = pixel_3HW
    offsets = (green - blue, 2.0 * chroma_HW + (blue - red), 4.0 * chroma_HW + (red - green))
    return np.mod(np.choose(pixel_3HW.argmax(0), offsets) / chroma_HW / 6.0, 1.0) * _TURN


def convolved(pixel_3HW: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Every inner pixel's 3 x 3 surroundings, weighted; two pixels less each way."""
    height, width = pixel_3HW.shape[1] - 2, pixel_3HW.shape[2] - 2
    total = np.zeros((3, height, width))
    for row in range(3):
        for column in range(3):
            total += kernel[row, column] * pixel_3HW[:, row : row + height, column : column + width]
    return total
