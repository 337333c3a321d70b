"""A taste prior from a data folder."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.pipelines.train_base import fit_base_model
from paaplus.pipelines.train_prior import prior_from_folder
from tests.support.taste_data import PixelExtractor, simulate, write_folder
from tests.support.tiny import tiny_base


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data"), simulate(num_people=64, num_images=120))


@pytest.mark.slow
def test_prior_of_a_folder_is_fitted_for_the_given_base_model(folder, tmp_path):
    options = {"cache_dir": tmp_path / "cache"}
    base, _ = fit_base_model(PixelExtractor(12), folder, name="pixels", **options)
    calls: list[tuple[int, int]] = []
    prior, metrics = prior_from_folder(
        base, PixelExtractor(12), folder, progress=lambda done, total: calls.append((done, total)), **options
    )
    assert prior.fits(base)
    assert metrics["num_people"] == 64
    assert calls[-1] == (120, 120)
    # people differ along one direction of the features: most of the prior's variance lies in its first coordinate
    seen_IP = np.column_stack([np.ones(120), np.zeros(120), base.project(features(folder))])
    energy_K = np.square(prior.coordinates(seen_IP, 0)).mean(0)
    assert energy_K[:2].sum() > 0.7 * energy_K.sum()  # the second is the offset
    with pytest.raises(InvalidInput, match="49 people"):
        prior_from_folder(base, PixelExtractor(12), folder, people=[f"u{n:02d}" for n in range(49)], **options)


def features(folder):
    from PIL import Image

    return PixelExtractor(12).extract([Image.open(path) for path in sorted((folder / "images").iterdir())])


def test_an_extractor_of_another_base_model_is_refused(folder, tmp_path):
    with pytest.raises(InvalidInput, match="the base model's is"):
        prior_from_folder(tiny_base(), PixelExtractor(12), folder, cache_dir=tmp_path / "cache")
