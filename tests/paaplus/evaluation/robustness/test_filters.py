"""The filters: the fixture's numbers, the neutral parameter, and edges that the fixture does not show."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from paaplus.evaluation.robustness.filters import DIRECTIONS, hsv_to_rgb, rgb_to_hsv
from paaplus.evaluation.robustness.parity import filtered

FIXTURE = Path(os.environ.get("PAAPLUS_TEST_SHARED", "/nowhere")) / "siblings/parity/nima_attack"
PIXELS = np.random.default_rng(0).random((3, 9, 7))


@pytest.mark.parity
@pytest.mark.skipif(not FIXTURE.is_dir(), reason="the originals' numbers are in PAAPLUS_TEST_SHARED, which is not here")
def test_all_filters_of_the_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FIXTURE.parent))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import common  # type: ignore[import-not-found]

    image, parameter = common.blocks("input.filters", 2, 24, 6), np.array([0.3, 0.8], np.float32)
    want = np.load(FIXTURE / "filters.npz", allow_pickle=False)
    for name in want.files:
        found = filtered(name, image, parameter if name.startswith("adjust_") else None)
        np.testing.assert_allclose(found, want[name], atol=2e-3 if name == "equalize" else 2e-5, err_msg=name)


@pytest.mark.parametrize("direction", DIRECTIONS, ids=lambda one: one.words)
def test_strength_0_changes_nothing_and_change_grows(direction) -> None:  # type: ignore[no-untyped-def]
    np.testing.assert_allclose(direction.apply(PIXELS, 0.0), PIXELS, atol=1e-3)
    changes = [np.abs(direction.apply(PIXELS, strength) - PIXELS).mean() for strength in (0.0, 0.3, 0.6, 1.0)]
    assert changes == sorted(changes)
    assert direction.apply(PIXELS, 1.0).min() >= 0.0
    assert direction.apply(PIXELS, 1.0).max() <= 1.0


def test_grey_black_and_white_are_finite_in_every_filter() -> None:
    flat = np.stack([np.full((3, 5, 5), value) for value in (0.0, 0.5, 1.0)]).astype(np.float32)
    for name in ("equalize", "rgb_to_hls", "rgb_to_hsv", "sobel", "adjust_hue", "adjust_saturation"):
        parameter = np.array([0.1, 0.5, 0.9]) if name.startswith("adjust") else None
        assert np.isfinite(filtered(name, flat, parameter)).all(), name


def test_hue_of_equal_channels_and_back() -> None:
    np.testing.assert_allclose(hsv_to_rgb(rgb_to_hsv(PIXELS)), PIXELS, atol=1e-6)
    yellow = np.array([1.0, 1.0, 0.0]).reshape(3, 1, 1)
    assert rgb_to_hsv(yellow)[0] == pytest.approx(np.pi / 3)
    np.testing.assert_allclose(hsv_to_rgb(np.array([-1.0, 1.0, 1.0]).reshape(3, 1, 1)).max(), 1.0)


def test_equalize_leaves_an_image_of_one_level_as_it_is() -> None:
    flat = np.full((1, 3, 4, 4), 0.3, np.float32)
    np.testing.assert_allclose(filtered("equalize", flat, None), flat)
