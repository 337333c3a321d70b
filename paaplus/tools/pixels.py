"""Measures of an image's pixels: exposure, colourfulness, sharpness, contrast. NumPy and Pillow only.

Each is measured on the image made small (`LONG_SIDE_PX`), so that the same picture in two sizes gets about the same
score, and put on the score scale by a fixed map. A measure has no error of its own: its confidence is 1, which says
nothing about what it is worth. None of them is an aspect of taste; each writes labels under its own name.

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
    """A tool with one aspect of its own name. `measure` gives score and confidence of an RGB array 0-1, (H, W, 3)."""

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
        assert one.image is not None, "this tool looks at pixels"
        score, confidence = self.measure(small_rgb(one.image))
        return Judgement({self.name: score}, {self.name: confidence})


def small_rgb(image: Image.Image) -> np.ndarray:
    """The image as RGB 0-1, float64, shape (H, W, 3), its long side `LONG_SIDE_PX` at most.

    Raises:
        InvalidInput: fewer than `MIN_SIDE_PX` pixels on a side.
    """
    if min(image.size) < MIN_SIDE_PX:
        raise InvalidInput(f"{image.size[0]} x {image.size[1]} pixels: too few to measure anything")
    long_side = max(image.size)
    if long_side > LONG_SIDE_PX:  # of a narrow strip the short side stays long enough to measure
        width_px, height_px = (max(MIN_SIDE_PX, round(side * LONG_SIDE_PX / long_side)) for side in image.size)
        image = image.resize((width_px, height_px), Image.Resampling.BOX)
    return np.asarray(image.convert("RGB"), np.float64) / 255.0


def exposure(rgb_HW3: np.ndarray) -> tuple[float, float]:
    """10 times the mean well-exposedness, `exp(-(luminance - .5)^2 / (2 * .2^2))`: black and white are both near 0.

    Source:
        Mertens, Kautz & Van Reeth, Exposure Fusion (Pacific Graphics 2007), there per colour channel.
    """
    light_HW = rgb_HW3 @ LUMINANCE
    return on_scale(float(np.exp(-np.square(light_HW - 0.5) / (2 * 0.2**2)).mean()), 0.0, 1.0), 1.0


def colourfulness(rgb_HW3: np.ndarray) -> tuple[float, float]:
    """Colourfulness in opponent colours; 109, which people called "extremely colourful", and more is 10.

    Source:
        Hasler & Suesstrunk, Measuring colourfulness in natural images (SPIE 5007, 2003), M3.
    """
    red_HW, green_HW, blue_HW = np.moveaxis(rgb_HW3 * 255.0, 2, 0)
    red_green_HW, yellow_blue_HW = red_HW - green_HW, (red_HW + green_HW) / 2 - blue_HW
    spread = np.hypot(red_green_HW.std(), yellow_blue_HW.std())
    distance = np.hypot(red_green_HW.mean(), yellow_blue_HW.mean())
    return on_scale(float(spread + 0.3 * distance), 0.0, 109.0), 1.0


def sharpness(rgb_HW3: np.ndarray) -> tuple[float, float]:
    """Variance of the Laplacian of luminance, by its logarithm: 10^-4.5 is 0, 10^-1.5 is 10.

    The variance of 100 on a scale of 0-255, a common threshold of blur, is 5.6 points.

    Source:
        Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy (ICPR 2000).
    """
    light_HW = rgb_HW3 @ LUMINANCE
    laplacian_HW = (
        light_HW[:-2, 1:-1] + light_HW[2:, 1:-1] + light_HW[1:-1, :-2] + light_HW[1:-1, 2:] - 4 * light_HW[1:-1, 1:-1]
    )
    return on_scale(float(np.log10(laplacian_HW.var() + 1e-9)), -4.5, -1.5), 1.0


def contrast(rgb_HW3: np.ndarray) -> tuple[float, float]:
    """Standard deviation of luminance (RMS contrast); .35 and more is 10, half black and half white would be .5.

    Source:
        Peli, Contrast in complex images (JOSA A 7, 1990).
    """
    return on_scale(float((rgb_HW3 @ LUMINANCE).std()), 0.0, 0.35), 1.0
