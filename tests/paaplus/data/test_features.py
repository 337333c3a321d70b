from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from paaplus.data.features import folder_features
from paaplus.data.folder import read_folder
from paaplus.errors import InvalidInput
from paaplus.ids import sha256_hex
from tests.support.taste_data import PixelExtractor, simulate, write_folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "data", simulate(num_people=2, num_images=7, feature_dim=6))


def test_features_are_those_of_each_image_in_order(folder, tmp_path):
    extractor = PixelExtractor(6)
    read = read_folder(folder)
    features = folder_features(read, extractor, tmp_path / "cache", batch_size=3)
    expected = np.concatenate([PixelExtractor(6).extract([Image.open(read.image_path(i))]) for i in read.images])
    np.testing.assert_array_equal(features, expected)
    assert features.dtype == np.float16


def test_each_image_is_extracted_once_whatever_its_name_or_folder(folder, tmp_path):
    extractor, read = PixelExtractor(6), read_folder(folder)
    first = folder_features(read, extractor, tmp_path / "cache", batch_size=3)
    assert extractor.num_extracted == 7
    (folder / "images" / "zzz.png").write_bytes(read.image_path(read.images[0]).read_bytes())
    again = folder_features(read_folder(folder), extractor, tmp_path / "cache")
    assert extractor.num_extracted == 7
    np.testing.assert_array_equal(again, np.concatenate([first, first[:1]]))


def test_known_features_are_used_as_they_are_and_not_cached(folder, tmp_path):
    extractor, read = PixelExtractor(6), read_folder(folder)
    known_D = np.full(6, 0.5, np.float16)
    known = {sha256_hex(read.image_path(read.images[2]).read_bytes()): known_D}
    features = folder_features(read, extractor, tmp_path / "cache", known=known.get)
    np.testing.assert_array_equal(features[2], known_D)
    assert extractor.num_extracted == 6
    again = folder_features(read, extractor, tmp_path / "cache")
    assert extractor.num_extracted == 7
    assert (again[2] != known_D).any()


def test_another_extractor_or_content_is_extracted_anew(folder, tmp_path):
    extractor, read = PixelExtractor(6), read_folder(folder)
    folder_features(read, extractor, tmp_path / "cache")
    other = PixelExtractor(6)
    other.digest = "0" * 64
    folder_features(read, other, tmp_path / "cache")
    assert other.num_extracted == 7
    Image.new("RGB", (2, 8), "red").save(read.image_path(read.images[3]))
    changed = folder_features(read, extractor, tmp_path / "cache")
    assert extractor.num_extracted == 8
    assert changed[3, 0] == 255 / 64


def test_finished_batches_are_cached_when_the_call_is_interrupted(folder, tmp_path):
    read = read_folder(folder)
    read.image_path(read.images[6]).write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(9))
    extractor = PixelExtractor(6)
    with pytest.raises(InvalidInput, match=r"image_006\.png: the file is damaged.*; the features of 6 images are kept"):
        folder_features(read, extractor, tmp_path / "cache", batch_size=2)
    assert extractor.num_extracted == 6
    Image.new("RGB", (2, 8)).save(read.image_path(read.images[6]))
    folder_features(read, extractor, tmp_path / "cache", batch_size=2)
    assert extractor.num_extracted == 7


def test_damaged_cached_file_is_not_used(folder, tmp_path):
    extractor, read = PixelExtractor(6), read_folder(folder)
    expected = folder_features(read, extractor, tmp_path / "cache")
    files = sorted((tmp_path / "cache").glob("*/*.safetensors"))
    files[0].write_bytes(files[0].read_bytes()[:-3])
    files[1].write_bytes(b"")
    np.testing.assert_array_equal(folder_features(read, extractor, tmp_path / "cache"), expected)
    assert extractor.num_extracted == 9


def test_progress_goes_from_nothing_to_all(folder, tmp_path):
    told: list[tuple[int, int]] = []
    read = read_folder(folder)
    folder_features(read, PixelExtractor(6), tmp_path / "cache", 3, lambda done, total: told.append((done, total)))
    assert told[0] == (0, 7)
    assert told[-1] == (7, 7)
    assert told == sorted(told)
