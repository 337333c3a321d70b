from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paaplus.data.builtin_set import build
from paaplus.data.builtin_set.build import write_builtin_set
from paaplus.data.builtin_set.image_properties import PROPERTIES, measure
from paaplus.data.builtin_set.photographs import PHOTOGRAPHS
from paaplus.data.builtin_set.pictures import LONG_SIDE_PX, write_pictures
from paaplus.data.builtin_set.scenes import SYNTHETIC_SCENES
from paaplus.data.folder import read_folder

SMALL = {"num_people": 6, "num_variants": 2, "ratings_per_person": 30}
FEW = {"num_people": 6, "num_variants": 2, "ratings_per_person": 12}
NUM_SCENES = len(PHOTOGRAPHS) + len(SYNTHETIC_SCENES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("builtin") / "set"
    write_builtin_set(path, **SMALL)
    return path


@pytest.fixture
def few_scenes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A set of five scenes. Drawing takes most of the time; test_scenes.py shows of each that it is always the same."""
    monkeypatch.setattr(build, "PHOTOGRAPHS", PHOTOGRAPHS[:4])
    monkeypatch.setattr(build, "SYNTHETIC_SCENES", SYNTHETIC_SCENES[:1])
    write_builtin_set(tmp_path / "few", **FEW)
    return tmp_path / "few"


def rows(file) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def contents(path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def test_bytes_depend_on_the_seed_alone(few_scenes, tmp_path):
    write_builtin_set(tmp_path / "again", **FEW)
    assert contents(tmp_path / "again") == contents(few_scenes)
    write_builtin_set(tmp_path / "other", seed=1, **FEW)
    assert contents(tmp_path / "other")["ratings.csv"] != contents(few_scenes)["ratings.csv"]


def test_it_is_an_ordinary_data_folder_with_scenes(folder):
    read = read_folder(folder)
    assert len(read.images) == 2 * NUM_SCENES
    assert read.num_scenes == NUM_SCENES
    assert len(read.people) == 6
    assert np.bincount(read.person_N).tolist() == [30] * 6
    assert set(read.rating_NA.ravel()) <= set(range(1, 8))


def test_tables_mark_what_is_synthetic_and_simulated(folder):
    assert {row["simulated"] for row in rows(folder / "users.csv")} == {"true"}
    kind_of = {row["scene"]: row["kind"] for row in rows(folder / "images.csv")}
    assert {scene for scene, kind in kind_of.items() if kind == "photograph"} == {p.name for p in PHOTOGRAPHS}
    assert {scene for scene, kind in kind_of.items() if kind == "synthetic"} == {s.name for s in SYNTHETIC_SCENES}


def test_blurred_variants_are_marked_and_no_original_is_blurred(folder):
    marked = {row["image"]: row["blurred"] for row in rows(folder / "images.csv")}
    assert set(marked.values()) == {"true", "false"}
    assert {marked[image] for image in marked if image.endswith("_00.jpg")} == {"false"}


def test_pictures_are_written_once_sharp_and_named_after_what_they_show(tmp_path):
    files = write_pictures(tmp_path / "pictures")
    assert [file.stem for file in files[:11]] == [p.name for p in PHOTOGRAPHS]
    assert len({file.name for file in files}) == NUM_SCENES
    with Image.open(tmp_path / "pictures" / "coffee.jpg") as coffee:
        assert max(coffee.size) == LONG_SIDE_PX
    files[0].write_bytes(b"mine")
    write_pictures(tmp_path / "pictures")
    assert files[0].read_bytes() == b"mine"


def test_listed_properties_are_those_of_the_stored_files(folder):
    for row in rows(folder / "images.csv")[::17]:
        with Image.open(folder / "images" / row["image"]) as image:
            assert image.format == "JPEG"
            assert max(image.size) == 256
            told = [float(row[name]) for name in PROPERTIES]
            np.testing.assert_allclose(told, measure(image), atol=1e-5)


def test_complete_set_is_not_changed_and_incomplete_one_is_written_anew(few_scenes, tmp_path):
    path = shutil.copytree(few_scenes, tmp_path / "set")
    image = next((path / "images").iterdir())
    image.write_bytes(b"touched")
    write_builtin_set(path, **FEW)
    assert image.read_bytes() == b"touched"
    (path / "builtin.json").unlink()
    write_builtin_set(path, **FEW)
    assert contents(path) == contents(few_scenes)


def test_more_people_do_not_change_the_first_ones(few_scenes, tmp_path):
    write_builtin_set(tmp_path / "more", **{**FEW, "num_people": 8})
    before, after = rows(few_scenes / "ratings.csv"), rows(tmp_path / "more" / "ratings.csv")
    assert after[: len(before)] == before
