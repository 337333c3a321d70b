"""Properties measured from an image's pixels without a network: brightness, warmth, contrast ...

The tastes of simulated people depend on these properties. A model has to find them through its own features.

Shape letters: H, W = pixels, P = properties.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

PROPERTIES = ("brightness", "warmth", "colourfulness", "contrast", "sharpness", "busyness", "texture")

_EDGE = 0.06  # step of luminance between neighbouring pixels that counts as an edge
_TINY_POWER = 1e-3  # keeps the value of a uniform image finite
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def measure(image: Image.Image) -> np.ndarray:
    """The values of `PROPERTIES`, shape (P,), float64.

    * brightness: mean luminance, 0 to 1
    * warmth: mean red minus mean blue, -1 to 1
    * colourfulness: Hasler and Suesstrunk (2003), divided by 255
    * contrast: standard deviation of luminance
    * sharpness: log10 of the variance of the Laplacian
    * busyness: share of neighbouring pixels that differ by more than an edge
    * texture: log of the ratio of luminance power at 0.06 to 0.2 cycles per pixel to that below 0.05

    Raises:
        ValueError: the image has fewer than 3 pixels on a side.
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
    power_HW = np.abs(np.fft.rfft2(light_HW - light_HW.mean())) ** 2
    height, width = light_HW.shape
    cycles_HW = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    medium, coarse = power_HW[(cycles_HW > 0.06) & (cycles_HW < 0.2)].sum(), power_HW[cycles_HW < 0.05].sum()
    return np.array(
        [
            light_HW.mean(),
            red_HW.mean() - blue_HW.mean(),
            colourfulness,
            light_HW.std(),
            np.log10(laplacian_HW.var() + 1e-5),
            (step_HW > _EDGE).mean(),
            np.log((medium + _TINY_POWER) / (coarse + _TINY_POWER)),
        ],
        np.float64,
    )
