"""Photographs of installed packages and generated scenes: both are scenes of the built-in set."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image

from paaplus.data.builtin_set.photographs import PHOTOGRAPHS, Photograph
from paaplus.data.builtin_set.scenes import SYNTHETIC_SCENES, SyntheticScene
from paaplus.errors import Unavailable

SIDE_PX = 96


@cache
def drawn(scene: Photograph | SyntheticScene) -> Image.Image:
    """The picture, drawn once for all tests."""
    return scene.load(SIDE_PX)


@pytest.mark.parametrize("scene", [*PHOTOGRAPHS, *SYNTHETIC_SCENES], ids=lambda scene: scene.name)
def test_a_scene_is_a_picture_of_the_asked_size_and_always_the_same(scene):
    picture = drawn(scene)
    assert picture.mode == "RGB"
    assert max(picture.size) == SIDE_PX
    pixel_HWC = np.asarray(picture, float)
    assert pixel_HWC.std() > 8, "nothing to see"
    np.testing.assert_array_equal(pixel_HWC, np.asarray(scene.load(SIDE_PX), float))
    assert scene.contents


def test_no_two_scenes_share_a_name_or_a_picture():
    scenes = [*PHOTOGRAPHS, *SYNTHETIC_SCENES]
    assert len({scene.name for scene in scenes}) == len(scenes)
    tiny = np.stack([np.asarray(drawn(s).resize((12, 12)), float).ravel() for s in scenes])
    apart = np.abs(tiny[:, None] - tiny[None]).mean(2) + 1000 * np.eye(len(scenes))
    assert apart.min() > 8


def test_every_photograph_has_a_source_and_is_in_colour():
    for photograph in PHOTOGRAPHS:
        assert photograph.licence, photograph.name
        assert photograph.source, photograph.name
        pixel_HWC = np.asarray(drawn(photograph), float)
        assert np.ptp(pixel_HWC, axis=2).mean() > 2, photograph.name


def test_missing_photograph_is_an_error_with_the_package_to_install():
    with pytest.raises(
        Unavailable, match=r"no_such_package/data/astronaut\.png is not installed; pip install 'paaplus"
    ):
        replace(PHOTOGRAPHS[0], package="no_such_package").find()
    with pytest.raises(Unavailable, match=r"skimage/data/gone\.png"):
        replace(PHOTOGRAPHS[0], path="data/gone.png").find()
