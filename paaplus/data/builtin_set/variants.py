"""Variants of a scene: the same picture with different exposure, colour, contrast, crop and sharpness.

Shape letters: H, W = pixels, C = 3 colour channels from 0 to 1.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

LONG_SIDE_PX = 256

_GAMMA = 2.2
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Variant:
    """The changes to a picture; the defaults change nothing."""

    exposure_stops: float = 0.0  # +1 is twice the light
    warmth: float = 0.0  # below 0: bluer, above 0: more orange
    saturation: float = 1.0  # 0 is grey
    contrast: float = 1.0  # factor around the mean luminance
    zoom: float = 1.0  # 2 keeps half of each side
    centre: tuple[float, float] = (0.5, 0.5)  # of the crop, as a share of its free range
    softness: float = 0.0  # above 0: radius of a blur in pixels; below 0: strength of sharpening


def draw_variants(scene: str, num_variants: int, seed: int) -> list[Variant]:
    """The variants of one scene, the first without changes; the same for the same arguments.

    Each setting covers its whole range: one draw from each of equally likely strata, in random order. It is left
    unchanged in one fifth of the variants, so that combinations stay recognisable.
    """
    rng = np.random.default_rng([seed, zlib.crc32(scene.encode())])
    others = num_variants - 1

    def setting(low: float, neutral: float, high: float) -> np.ndarray:
        position = (rng.permutation(others) + rng.random(others)) / max(others, 1) * 2 - 1
        values = np.where(position < 0, neutral + position * (neutral - low), neutral + position * (high - neutral))
        return np.where(rng.random(others) < 1 / 5, neutral, values)

    exposure, warmth = setting(-1.8, 0.0, 1.5), setting(-1.5, 0.0, 1.5)
    saturation, contrast = setting(0.0, 1.0, 2.6), setting(0.4, 1.0, 1.8)
    zoom, softness = np.maximum(setting(0.2, 1.0, 1.8), 1.0), setting(-2.5, 0.0, 3.5)
    centre = rng.random((others, 2))
    changed = [
        Variant(
            exposure_stops=float(exposure[i]),
            warmth=float(warmth[i]),
            saturation=float(saturation[i]),
            contrast=float(contrast[i]),
            zoom=float(zoom[i]),
            centre=(float(centre[i, 0]), float(centre[i, 1])),
            softness=float(softness[i]),
        )
        for i in range(others)
    ]
    return [Variant(), *changed]


def render(picture: Image.Image, variant: Variant, long_side_px: int = LONG_SIDE_PX) -> Image.Image:
    """The picture with the variant's changes, its longer side `long_side_px` pixels long."""
    width, height = picture.size
    crop_w, crop_h = width / variant.zoom, height / variant.zoom
    left, top = variant.centre[0] * (width - crop_w), variant.centre[1] * (height - crop_h)
    scale = long_side_px / max(crop_w, crop_h)
    size = (max(round(crop_w * scale), 1), max(round(crop_h * scale), 1))
    image = picture.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + crop_w, top + crop_h))
    if variant.softness > 0:
        image = image.filter(ImageFilter.GaussianBlur(variant.softness))
    elif variant.softness < 0:
        image = image.filter(ImageFilter.UnsharpMask(radius=1.5, percent=round(-100 * variant.softness), threshold=0))
    rgb_HWC = np.asarray(image, np.float32) / 255
    gain_C = 2.0**variant.exposure_stops * np.array([1 + 0.35 * variant.warmth, 1.0, 1 - 0.35 * variant.warmth])
    rgb_HWC = np.clip(rgb_HWC * gain_C.astype(np.float32) ** (1 / _GAMMA), 0, 1)  # gains act on linear light
    grey_HW1 = (rgb_HWC @ _LUMINANCE)[..., None]
    rgb_HWC = grey_HW1 + variant.saturation * (rgb_HWC - grey_HW1)
    middle = float(grey_HW1.mean())
    rgb_HWC = np.clip(middle + variant.contrast * (rgb_HWC - middle), 0, 1)
    return Image.fromarray(np.round(rgb_HWC * 255).astype(np.uint8))
