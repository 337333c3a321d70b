"""The pixel measures on images with known results."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from paaplus.errors import InvalidInput
from paaplus.tools.composition import composition
from paaplus.tools.pixels import colourfulness, contrast, exposure, sharpness, small_rgb
from paaplus.tools.registry import ToolContext, build
from paaplus.tools.tool import Judgement, ToolImage, on_scale, within_width


def plain(*rgb: int) -> np.ndarray:
    return small_rgb(Image.new("RGB", (40, 30), rgb))


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8))


def test_exposure_is_best_in_the_middle_and_bad_at_both_ends() -> None:
    grey, black, white = (exposure(plain(v, v, v))[0] for v in (128, 0, 255))
    assert grey == pytest.approx(10.0, abs=0.01)
    assert black == pytest.approx(10 * np.exp(-0.25 / 0.08), abs=0.01)
    assert white == pytest.approx(black, abs=0.01)


def test_colourfulness_is_the_published_formula() -> None:
    assert colourfulness(plain(90, 90, 90))[0] == pytest.approx(0.0, abs=1e-9)
    # one colour: no spread, rg = 200, yb = 100, so M3 = .3 * hypot(200, 100)
    assert colourfulness(plain(200, 0, 0))[0] == pytest.approx(10 * 0.3 * np.hypot(200, 100) / 109)


def test_sharpness_falls_with_blur_and_ends_at_the_scale() -> None:
    scores = [sharpness(small_rgb(noise().filter(ImageFilter.GaussianBlur(r))))[0] for r in (0, 1, 2, 4)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] - scores[-1] > 3
    assert sharpness(plain(7, 7, 7))[0] == 0.0


def test_contrast_is_the_spread_of_luminance() -> None:
    half = Image.new("L", (40, 30), 0)
    half.paste(255, (0, 0, 20, 30))
    assert contrast(small_rgb(half))[0] == 10.0
    assert contrast(plain(50, 60, 70))[0] == pytest.approx(0.0, abs=1e-9)


def spot(x: float, y: float) -> np.ndarray:
    pixel_HW3 = np.full((240, 240, 3), 40, np.uint8)
    cx, cy = round(240 * x), round(240 * y)
    pixel_HW3[cy - 12 : cy + 12, cx - 12 : cx + 12] = 230
    return small_rgb(Image.fromarray(pixel_HW3))


def test_composition_prefers_a_subject_on_a_crossing_of_the_third_lines_to_one_in_a_corner() -> None:
    on_crossing, in_corner = composition(spot(1 / 3, 2 / 3)), composition(spot(0.08, 0.08))
    assert on_crossing[0] > in_corner[0] + 2
    assert on_crossing[1] > 0.2
    assert composition(plain(128, 128, 128)) == (5.0, 0.0)


def test_same_picture_in_two_sizes_gets_about_the_same_scores() -> None:
    large = noise().resize((1600, 1200), Image.Resampling.BICUBIC)
    half = large.resize((800, 600), Image.Resampling.BOX)
    for name in ("exposure", "colourfulness", "contrast", "composition"):
        one, other = build(name, ToolContext()).score([ToolImage(large), ToolImage(half)])
        assert one.scores[name] == pytest.approx(other.scores[name], abs=0.3)


def test_image_of_a_few_pixels_is_refused() -> None:
    with pytest.raises(InvalidInput, match="5 x 90 pixels"):
        build("contrast", ToolContext()).score([ToolImage(Image.new("RGB", (5, 90)))])


def test_confidence_is_the_probability_of_an_error_within_a_point() -> None:
    assert within_width(1.0) == pytest.approx(0.6827, abs=1e-4)
    assert within_width(0.0) == 1.0
    assert on_scale(-1.0, 0.0, 2.0) == 0.0
    assert on_scale(0.5, 0.0, 2.0) == 2.5


@pytest.mark.parametrize(
    ("scores", "confidences"),
    [({"a": 11.0}, {"a": 1.0}), ({"a": float("nan")}, {"a": 1.0}), ({"a": 1.0}, {}), ({"a": 1.0}, {"a": 1.5})],
)
def test_invalid_judgement_is_refused(scores: dict[str, float], confidences: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        Judgement(scores, confidences)
