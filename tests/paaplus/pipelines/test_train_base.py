from __future__ import annotations

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.pipelines.train_base import fit_base_model
from tests.support.taste_data import PixelExtractor, simulate, write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data"), simulate(num_people=12, num_images=120), images_per_scene=5)


def fit(folder, tmp_path, **options):
    return fit_base_model(PixelExtractor(12), folder, name="pixels", cache_dir=tmp_path / "cache", **options)


def test_base_model_is_fitted_to_the_extractor_and_the_folder(folder, tmp_path):
    calls: list[tuple[int, int]] = []
    scorer, metrics = fit(folder, tmp_path, scale=(1, 7), progress=lambda done, total: calls.append((done, total)))
    assert (scorer.name, scorer.extractor_digest) == ("pixels", PixelExtractor.digest)
    assert (scorer.aspects, scorer.feature_dim) == (("beauty",), 12)
    assert (metrics["num_people"], metrics["num_images"], metrics["num_scenes"]) == (12, 120, 24)
    assert metrics["scale"] == [1, 7]
    assert metrics["cv_srcc"] > 0.3
    assert calls[-1] == (120, 120)


def test_only_the_named_people_and_images_are_used(folder, tmp_path):
    people = [f"u{n:02d}" for n in range(2, 11)]
    images = [f"image_{i:03d}.png" for i in range(10, 115)]
    scorer, metrics = fit(folder, tmp_path, people=people, images=images, aspect="style")
    assert (metrics["num_people"], metrics["num_images"], scorer.aspects) == (9, 105, ("style",))
    with pytest.raises(InvalidInput, match="unknown people: nobody"):
        fit(folder, tmp_path, people=["nobody"])


def test_rating_outside_the_scale_is_refused(folder, tmp_path):
    with pytest.raises(InvalidInput, match="outside the scale 1 to 5"):
        fit(folder, tmp_path, scale=(1, 5))


def test_same_folder_gives_the_same_artifact(folder, tmp_path):
    assert fit(folder, tmp_path)[0].digest == fit(folder, tmp_path)[0].digest


def test_images_that_the_extractor_refuses_are_left_out(folder, tmp_path):
    class Refusing(PixelExtractor):
        def extract(self, images):
            features = super().extract(images)
            features[self.num_extracted - len(images) < 16] = np.nan  # the whole first batch
            return features

    scorer, metrics = fit_base_model(Refusing(12), folder, name="pixels", cache_dir=tmp_path / "cache")
    assert (metrics["num_images"], metrics["num_refused_images"]) == (104, 16)
    later = sorted((folder / "images").iterdir())[16:]
    expected, _ = fit(folder, tmp_path / "other", images=[path.name for path in later])
    assert scorer.digest == expected.digest
