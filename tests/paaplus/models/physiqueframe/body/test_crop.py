from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from paaplus.models.physiqueframe.body.crop import Box, clip_box, cut_person


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10.0, 20.0, 31.0, 41.0), (10.0, 20.0, 30.0, 40.0)),
        ((-5.0, -5.0, 31.0, 41.0), (0.0, 0.0, 30.0, 40.0)),
        ((90.0, 20.0, 50.0, 41.0), (90.0, 20.0, 9.0, 40.0)),
        ((99.0, 20.0, 50.0, 41.0), None),
        ((200.0, 200.0, 10.0, 10.0), None),
        ((10.0, 10.0, 0.0, 10.0), None),
        ((10.0, 10.0, float("nan"), 10.0), None),
    ],
)
def test_box_is_cut_at_the_border(box: Box, expected: Box | None) -> None:
    assert clip_box(box, width_px=100, height_px=100) == expected


def test_crop_has_the_aspect_and_margin_when_the_box_is_narrow() -> None:
    crop = cut_person(Image.new("RGB", (400, 400), "white"), (100.0, 100.0, 51.0, 101.0))
    assert crop is not None
    # 50 x 100 px: widened to 75 x 100, then a quarter larger, around (125, 150)
    assert crop.to_photo(np.array([[0.0, 0.0], [384.0, 512.0], [192.0, 256.0]])).tolist() == pytest.approx(
        np.array([[78.125, 87.5], [171.875, 212.5], [125.0, 150.0]])
    )
    assert crop.pixel_HW3.shape == (512, 384, 3)
    assert crop.pixel_HW3.min() == 1.0


def test_a_point_of_the_photo_is_found_in_the_crop_where_it_should_be() -> None:
    photo = Image.new("RGB", (200, 200))
    photo.putpixel((120, 90), (255, 0, 0))
    crop = cut_person(photo, (60.0, 40.0, 91.0, 121.0))
    assert crop is not None
    row, column, channel = np.unravel_index(crop.pixel_HW3.argmax(), crop.pixel_HW3.shape)
    assert channel == 0
    assert crop.to_photo(np.array([[column, row]], float))[0].tolist() == pytest.approx([120, 90], abs=0.3)


def test_crop_is_black_where_it_leaves_the_photo() -> None:
    crop = cut_person(Image.new("RGB", (100, 100), "white"), (0.0, 0.0, 101.0, 101.0))
    assert crop is not None
    assert crop.pixel_HW3[0, 0].max() == 0
    assert crop.pixel_HW3[256, 192].min() == 1


def test_there_is_no_crop_when_the_box_is_degenerate() -> None:
    assert cut_person(Image.new("RGB", (100, 100)), (50.0, 50.0, -3.0, 10.0)) is None
