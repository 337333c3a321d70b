"""Pixel tools: exposure, colourfulness, sharpness and contrast. NumPy and Pillow only.

Each is measured on a reduced image (`LONG_SIDE_PX`), so that a picture has about the same score in any size, and mapped
to the score scale by a fixed function. A measure has no error, so its confidence is 1; that does not say how good the
measure is. None of them is an aspect of taste: each labels an aspect of its own name.

Shape letters: H, W = pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from paaplus.errors import InvalidInput
from paaplus.tools.tool import Judgement, Need, ToolImage, on_scale

LONG_SIDE_PX = 512
MIN_SIDE_PX = 8
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float64)  # Rec. 601


@dataclass(frozen=True)
class PixelTool:
    """A tool whose one aspect has its name. `measure` returns score and confidence of an RGB array 0-1, (H, W, 3)."""

    name: str
    version: str
    measure: Callable[[np.ndarray], tuple[float, float]]

    need = Need.PIXELS

    @property
    def aspects(self) -> tuple[str, ...]:
        return (self.name,)

    def score(self, images: Sequence[ToolImage]) -> list[Judgement]:
        return [self._judge(one) for one in images]

    def _judge(self, one: ToolImage) -> Judgement:
        assert one.image is not None, "this tool needs pixels"
        score, confidence = self.measure(small_rgb(one.image))
        return Judgement({self.name: score}, {self.name: confidence})


def small_rgb(image: Image.Image) -> np.ndarray:
    """The image as RGB 0-1, float64, shape (H, W, 3), reduced to a long side of `LONG_SIDE_PX` or less.

    Raises:
        InvalidInput: fewer than `MIN_SIDE_PX` pixels on a side.
    """
    if min(image.size) < MIN_SIDE_PX:
        raise InvalidInput(f"{image.size[0]} x {image.size[1]} pixels: too few to measure")
    long_side = max(image.size)
    if long_side > LONG_SIDE_PX:  # the short side of a narrow image stays large enough to measure
        width_px, height_px = (max(MIN_SIDE_PX, round(side * LONG_SIDE_PX / long_side)) for side in image.size)
        image = image.resize((width_px, height_px), Image.Resampling.BOX)
    return np.asarray(image.convert("RGB"), np.float64) / 255.0


def exposure(rgb_HW3: np.ndarray) -> tuple[float, float]:
    """Mean well-exposedness, `exp(-(luminance - .5)^2 / (2 * .2^2))`, on the score scale: black and white are near 0.

    Source:
        Mertens, Kautz & Van Reeth, Exposure Fusion (Pacific Graphics 2007), there per colour channel.
    """
    light_HW = rgb_HW3 @ LUMINANCE
    return on_scale(float(np.exp(-np.square(light_HW - 0.5) / (2 * 0.2**2)).mean()), 0.0, 1.0), 1.0


def colourfulness(rgb_HW3: np.ndarray) -> tuple[float, float]:
    """Colourfulness in opponent colours. 109 ("extremely colourful" in the source) and more is 10.

    Source:
        Hasler & Suesstrunk, Measuring colourfulness in natural images (SPIE 5007, 2003), M3.
    """
    red_HW, green_HW, blue_HW = np.moveaxis(rgb_HW3 * 255.0, 2, 0)
    red_green_HW, yellow_blue_HW = red_HW - green_HW, (red_HW + green_HW) / 2 - blue_HW
    spread = np.hypot(red_green_HW.std(), yellow_blue_HW.std())
    distance = np.hypot(red_green_HW.mean(), yellow_blue_HW.mean())
    return on_scale(float(spread + 0.3 * distance), 0.0, 109.0), 1.0


def sharpness(rgb_HW3: np.ndarray) -> tuple[float, float]:
    """Logarithm of the variance of the Laplacian of luminance: 10^-4.5 is 0, 10^-1.5 is 10.

    A variance of 100 on the scale 0-255, a common threshold for blur, is 5.6 points.

    Source:
        Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy (ICPR 2000).
    """
    light_HW = rgb_HW3 @ LUMINANCE
    laplacian_HW = (
        light_HW[:-2, 1:-1] + light_HW[2:, 1:-1] + light_HW[1:-1, :-2] + light_HW[1:-1, 2:] - 4 * light_HW[1:-1, 1:-1]
    )
    return on_scale(float(np.log10(laplacian_HW.var() + 1e-9)), -4.5, -1.5), 1.0


def contrast(rgb_HW3: np.ndarray) -> tuple[float, float]:
    """Standard deviation of luminance (RMS contrast). .35 and more is 10; half black, half white has .5.

    Source:
        Peli, Contrast in complex images (JOSA A 7, 1990).
    """
    return on_scale(float((rgb_HW3 @ LUMINANCE).std()), 0.0, 0.35), 1.0
