"""The crop of a person that is SMPLer-X's input: a box of aspect 3:4, 25 % larger than the person's box.

Boxes are (left, top, width, height) in pixels of the photo. Shape letters: H, W = crop size, N = points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import affine_transform

from paaplus.models.physiqueframe.body.smpler_x import CROP_HEIGHT_PX, CROP_WIDTH_PX

Box = tuple[float, float, float, float]

MARGIN = 1.25


@dataclass(frozen=True, eq=False)
class Crop:
    """A crop and its position: photo = crop * scale + offset, for x and y."""

    pixel_HW3: np.ndarray  # (512, 384, 3) float32 in 0-1
    scale_2: np.ndarray
    offset_2: np.ndarray

    def to_photo(self, point_N2: np.ndarray) -> np.ndarray:
        """Points (x, y) of the crop in pixels of the photo."""
        return point_N2 * self.scale_2 + self.offset_2


def clip_box(box: Box, width_px: int, height_px: int) -> Box | None:
    """The part of a box inside the photo; None if it has no area or a number is not finite."""
    left, top, width, height = box
    if not np.isfinite(box).all() or width <= 0 or height <= 0:
        return None
    x0, y0 = max(0.0, left), max(0.0, top)
    x1 = min(width_px - 1.0, x0 + max(0.0, width - 1.0))
    y1 = min(height_px - 1.0, y0 + max(0.0, height - 1.0))
    return (x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None


def cut_person(photo: Image.Image, box: Box) -> Crop | None:
    """The crop of a person's box, black outside the photo; None for a box without area in the photo."""
    inside = clip_box(box, photo.width, photo.height)
    if inside is None:
        return None
    left, top, width, height = inside
    middle_2 = np.array([left + width / 2, top + height / 2])
    aspect = CROP_WIDTH_PX / CROP_HEIGHT_PX
    size_2 = MARGIN * np.array([max(width, aspect * height), max(height, width / aspect)])
    scale_2 = size_2 / np.array([CROP_WIDTH_PX, CROP_HEIGHT_PX])
    offset_2 = middle_2 - size_2 / 2
    pixel_HW3 = np.asarray(photo.convert("RGB"), np.float32) / 255
    channels = [
        affine_transform(
            pixel_HW3[..., channel],
            matrix=scale_2[::-1],
            offset=offset_2[::-1],
            output_shape=(CROP_HEIGHT_PX, CROP_WIDTH_PX),
            order=1,
            mode="grid-constant",
        )
        for channel in range(3)
    ]
    return Crop(np.stack(channels, axis=2), scale_2, offset_2)
