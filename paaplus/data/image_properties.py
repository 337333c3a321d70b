"""Properties that are measured from an image's pixels, with no network in between.

Simulated people have their tastes over these, so that a model has to find them through its own features.
Shape letters: H, W = pixels, P = properties.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

PROPERTIES = ("brightness", "warmth", "colourfulness", "contrast", "sharpness", "busyness", "spotlight")

_EDGE = 0.06  # a step of luminance between neighbours that counts as an edge
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def measure(image: Image.Image) -> np.ndarray:
    """The values of `PROPERTIES`, shape (P,), float64.

    brightness: mean luminance, 0 to 1. warmth: mean red minus mean blue, -1 to 1. colourfulness: Hasler and
    Suesstrunk (2003), over 255. contrast: standard deviation of luminance. sharpness: log10 of the variance of
    the Laplacian. busyness: share of neighbouring pixels that differ by more than an edge. spotlight: mean
    luminance of the middle ninth minus that of the whole.

    Raises:
        ValueError: smaller than 3 pixels on a side.
    """
    if min(image.size) < 3:
        raise ValueError(f"an image of {image.size[0]} x {image.size[1]} pixels is too small to measure")
    rgb_HWC = np.asarray(image.convert("RGB"), np.float32) / 255
    red_HW, green_HW, blue_HW = np.moveaxis(rgb_HWC, 2, 0)
    light_HW = rgb_HWC @ _LUMINANCE
    red_green_HW, yellow_blue_HW = red_HW - green_HW, (red_HW + green_HW) / 2 - blue_HW
    colourfulness = np.hypot(red_green_HW.std(), yellow_blue_HW.std()) + 0.3 * np.hypot(
        red_green_HW.mean(), yellow_blue_HW.mean()
    )
    laplacian_HW = (
        light_HW[:-2, 1:-1] + light_HW[2:, 1:-1] + light_HW[1:-1, :-2] + light_HW[1:-1, 2:] - 4 * light_HW[1:-1, 1:-1]
    )
    step_HW = np.hypot(np.diff(light_HW, axis=0)[:, 1:], np.diff(light_HW, axis=1)[1:])
    height, width = light_HW.shape
    middle_HW = light_HW[height // 3 : -(height // 3), width // 3 : -(width // 3)]
    return np.array(
        [
            light_HW.mean(),
            red_HW.mean() - blue_HW.mean(),
            colourfulness,
            light_HW.std(),
            np.log10(laplacian_HW.var() + 1e-5),
            (step_HW > _EDGE).mean(),
            middle_HW.mean() - light_HW.mean(),
        ],
        np.float64,
    )
