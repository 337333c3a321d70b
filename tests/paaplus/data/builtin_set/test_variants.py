from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from paaplus.data.builtin_set.variants import LONG_SIDE_PX, Variant, draw_variants, render


@pytest.fixture
def picture() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(60, 120, (100, 150, 3), np.uint8)).resize((512, 341))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, float)


def test_variants_are_the_same_for_the_same_scene_and_seed_only():
    assert draw_variants("coffee", 20, 0) == draw_variants("coffee", 20, 0)
    assert draw_variants("coffee", 20, 0) != draw_variants("coffee", 20, 1)
    assert draw_variants("coffee", 20, 0) != draw_variants("rocket", 20, 0)


def test_the_first_variant_does_not_change_the_picture(picture):
    assert draw_variants("coffee", 5, 0)[0] == Variant()
    expected = picture.resize((256, 170), Image.Resampling.LANCZOS, box=(0, 0, 512, 341))
    np.testing.assert_allclose(pixels(render(picture, Variant())), pixels(expected), atol=1)


@pytest.mark.parametrize("num_variants", [1, 2, 20])
def test_number_of_variants_is_the_requested_one(num_variants):
    assert len(set(draw_variants("coffee", num_variants, 0))) == num_variants


def test_every_setting_varies_both_ways_and_is_unchanged_in_some():
    variants = draw_variants("coffee", 40, 0)
    for name, neutral in (("exposure_stops", 0), ("warmth", 0), ("saturation", 1), ("contrast", 1), ("softness", 0)):
        values = np.array([getattr(variant, name) for variant in variants])
        assert (values < neutral).sum() >= 8, name
        assert (values > neutral).sum() >= 8, name
        assert (values == neutral).sum() >= 2, name


@pytest.mark.parametrize("zoom", [1.0, 1.7])
def test_the_longer_side_is_always_the_same(picture, zoom):
    assert max(render(picture, Variant(zoom=zoom)).size) == LONG_SIDE_PX
    assert max(render(picture.rotate(90, expand=True), Variant(zoom=zoom)).size) == LONG_SIDE_PX


def test_one_stop_doubles_the_linear_light(picture):
    before, after = (pixels(render(picture, Variant(exposure_stops=stops))) / 255 for stops in (0, 1))
    np.testing.assert_allclose(after**2.2, 2 * before**2.2, atol=0.02)


def test_without_saturation_all_channels_are_equal(picture):
    grey = pixels(render(picture, Variant(saturation=0)))
    assert np.ptp(grey, axis=2).max() == 0


def test_warmth_trades_blue_for_red(picture):
    warm, cool = (pixels(render(picture, Variant(warmth=w))).mean((0, 1)) for w in (1, -1))
    assert warm[0] > cool[0]
    assert warm[2] < cool[2]


def test_contrast_scales_the_spread(picture):
    before, after = (pixels(render(picture, Variant(contrast=c))).std() for c in (1, 0.5))
    assert after == pytest.approx(before / 2, rel=0.05)


def test_softness_blurs_and_below_zero_sharpens(picture):
    detail = [np.abs(np.diff(pixels(render(picture, Variant(softness=s))), axis=1)).mean() for s in (-2, 0, 2)]
    assert detail[0] > detail[1] > detail[2]


def test_zoom_keeps_the_chosen_corner():
    picture = Image.new("RGB", (400, 200), "black")
    picture.paste("white", (200, 100, 400, 200))
    assert pixels(render(picture, Variant(zoom=2, centre=(1, 1)))).mean() > 250
    assert pixels(render(picture, Variant(zoom=2, centre=(0, 0)))).mean() < 5
