from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from paaplus.data.builtin_set.image_properties import PROPERTIES, measure


def measured(pixel_HWC: np.ndarray) -> dict[str, float]:
    return dict(zip(PROPERTIES, measure(Image.fromarray(pixel_HWC.astype(np.uint8))), strict=True))


def plain(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((40, 60, 3), (red, green, blue))


def test_a_plain_grey_image_has_brightness_and_nothing_else():
    values = measured(plain(51, 51, 51))
    assert values["brightness"] == pytest.approx(0.2)
    assert values["sharpness"] == pytest.approx(-5)  # log10 of what keeps a flat image finite
    for name in ("warmth", "colourfulness", "contrast", "busyness", "texture"):
        assert values[name] == pytest.approx(0, abs=1e-4), name


def test_warmth_is_red_minus_blue():
    assert measured(plain(255, 0, 51))["warmth"] == pytest.approx(0.8)
    assert measured(plain(0, 0, 255))["warmth"] == pytest.approx(-1)


def test_contrast_of_half_black_half_white_is_a_half():
    pixel_HWC = plain(0, 0, 0)
    pixel_HWC[:, 30:] = 255
    assert measured(pixel_HWC)["contrast"] == pytest.approx(0.5)


def test_colourfulness_is_that_of_hasler_and_suesstrunk():
    pixel_HWC = plain(255, 0, 0)
    pixel_HWC[:20] = (0, 255, 0)
    # rg = 1 or -1: sd 1, mean 0; yb = (r + g) / 2 - b = 0.5 everywhere: sd 0, mean 0.5
    assert measured(pixel_HWC)["colourfulness"] == pytest.approx(1 + 0.3 * 0.5)


def test_blur_lowers_sharpness_and_busyness():
    rng = np.random.default_rng(0)
    noisy = Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8))
    sharp = dict(zip(PROPERTIES, measure(noisy), strict=True))
    soft = dict(zip(PROPERTIES, measure(noisy.resize((16, 16)).resize((64, 64))), strict=True))
    assert soft["sharpness"] < sharp["sharpness"] - 1
    assert soft["busyness"] < sharp["busyness"]


@pytest.mark.parametrize(("cycles_per_px", "is_texture"), [(0.125, True), (1 / 32, False)])
def test_texture_is_power_at_medium_frequencies(cycles_per_px, is_texture):
    wave_W = 128 + 100 * np.sin(2 * np.pi * cycles_per_px * np.arange(64))
    pixel_HWC = np.repeat(np.tile(wave_W, (64, 1))[..., None], 3, axis=2)
    assert (measured(pixel_HWC)["texture"] > 0) == is_texture


def test_a_tiny_image_is_refused():
    with pytest.raises(ValueError, match="2 x 9 pixels"):
        measure(Image.new("RGB", (2, 9)))
