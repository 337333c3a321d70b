"""Published data sets on synthetic miniatures in the format of their releases; the images themselves are not here."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from paaplus.cli.main import app
from paaplus.data.benchmarks.datasets import DATASETS, import_dataset
from paaplus.data.benchmarks.xlsx import read_sheet
from paaplus.data.folder import DataFolder, read_folder
from paaplus.errors import InvalidInput
from paaplus.records import Scale
from tests.support.releases import NUM_IMAGES, NUM_PEOPLE, RELEASES

EXPECTED = {  # people, images, ratings, scale
    "flickr-aes": (NUM_PEOPLE, NUM_IMAGES, NUM_PEOPLE * NUM_IMAGES, (1, 5)),
    "para": (NUM_PEOPLE, NUM_IMAGES, NUM_PEOPLE * NUM_IMAGES, (1, 5)),
    "aadb": (NUM_PEOPLE, 20, NUM_PEOPLE * 20, (1, 5)),
    "real-cur": (3, 45, 45, (1, 5)),
    "lapis": (NUM_PEOPLE, NUM_IMAGES, NUM_PEOPLE * NUM_IMAGES, (0, 100)),
    "eva": (NUM_PEOPLE, NUM_IMAGES, NUM_PEOPLE * NUM_IMAGES, (0, 10)),
    "ava": (1, NUM_IMAGES, NUM_IMAGES, (1, 10)),
    "tad66k": (1, NUM_IMAGES, NUM_IMAGES, (0, 10)),
    "spaq": (1, NUM_IMAGES, NUM_IMAGES, (0, 100)),
}
HAS_SPLIT = {"flickr-aes": 0, "para": 12, "aadb": 5, "lapis": 12, "ava": 8, "tad66k": 8}  # test images


def imported(name: str, tmp_path: Path) -> tuple[dict[str, object], DataFolder]:
    RELEASES[name](tmp_path / "release")
    about = import_dataset(name, tmp_path / "release", tmp_path / "data")
    return about, read_folder(tmp_path / "data", Scale(*about["scale"]))  # type: ignore[misc]


def test_every_data_set_has_a_miniature() -> None:
    assert DATASETS.keys() == RELEASES.keys() == EXPECTED.keys()


@pytest.mark.parametrize("name", DATASETS)
def test_release_becomes_a_data_folder(name: str, tmp_path: Path) -> None:
    about, folder = imported(name, tmp_path)
    people, images, ratings, scale = EXPECTED[name]
    assert (len(folder.people), len(folder.images), len(folder.rating_NA)) == (people, images, ratings)
    assert tuple(about["scale"]) == scale  # type: ignore[arg-type]
    assert about["num_missing"] == (1 if name == "flickr-aes" else 0)
    assert json.loads((tmp_path / "data" / "dataset.json").read_text()) == about
    tested = [image for image, row in folder.image_columns.items() if row.get("split") == "test"]
    assert len(tested) == HAS_SPLIT.get(name, 0)


def test_themes_and_listed_people(tmp_path: Path) -> None:
    _, ava = imported("ava", tmp_path / "ava")
    assert ava.image_columns["201.jpg"]["theme"] == "Cityscape Night"
    _, tad = imported("tad66k", tmp_path / "tad")
    assert tad.image_columns["0@N01.jpg"]["theme"] == "flower"
    _, flickr = imported("flickr-aes", tmp_path / "flickr")
    assert sorted(one for one, row in flickr.user_columns.items() if row["split"] == "test") == ["A1", "A4"]
    _, lapis = imported("lapis", tmp_path / "lapis")
    assert lapis.user_columns["p2"]["split"] == "test"
    assert any("\u00e9" in image for image in lapis.images)


def test_mean_of_votes_by_hand(tmp_path: Path) -> None:
    RELEASES["ava"](tmp_path / "release")
    (tmp_path / "release" / "AVA.txt").write_text("1 200 0 0 0 0 3 0 0 1 0 0 1 2 738\n")
    import_dataset("ava", tmp_path / "release", tmp_path / "data")
    folder = read_folder(tmp_path / "data", Scale(1, 10))
    assert folder.rating_NA[0, 0] == pytest.approx((3 * 5 + 8) / 4)


@pytest.mark.parametrize("name", DATASETS)
def test_another_layout_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "release").mkdir()
    with pytest.raises(InvalidInput, match="not the layout of the release"):
        import_dataset(name, tmp_path / "release", tmp_path / "data")


def test_bad_cells_are_refused_with_their_line(tmp_path: Path) -> None:
    RELEASES["flickr-aes"](tmp_path / "release")
    file = tmp_path / "release" / "FLICKR-AES_image_labeled_by_each_worker.csv"
    file.write_text("worker, imagePair, score\nA, x.jpg, good\n")
    with pytest.raises(InvalidInput, match=r"line 2: 'good' is not a number"):
        import_dataset("flickr-aes", tmp_path / "release", tmp_path / "data")
    file.write_text("worker, imagePair\nA, x.jpg\n")
    with pytest.raises(InvalidInput, match="no column score"):
        import_dataset("flickr-aes", tmp_path / "release", tmp_path / "data")


def test_target_must_be_empty_and_name_known(tmp_path: Path) -> None:
    RELEASES["eva"](tmp_path / "release")
    with pytest.raises(InvalidInput, match="not known"):
        import_dataset("x", tmp_path / "release", tmp_path / "data")
    with pytest.raises(InvalidInput, match="not an empty folder"):
        import_dataset("eva", tmp_path / "release", tmp_path / "release")


def test_wrong_excel_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.xlsx"
    file.write_text("no zip")
    with pytest.raises(InvalidInput, match="not an Excel file"):
        read_sheet(file)
    with zipfile.ZipFile(file, "w") as parts:
        parts.writestr("other", "")
    with pytest.raises(InvalidInput, match="not an Excel file"):
        read_sheet(file)


def test_commands(tmp_path: Path) -> None:
    listed = CliRunner().invoke(app, ["data", "list", "--json"])
    assert {row["name"] for row in json.loads(listed.stdout)} == DATASETS.keys()
    RELEASES["real-cur"](tmp_path / "release")
    command = ["data", "import", "real-cur", str(tmp_path / "release"), str(tmp_path / "data"), "--json"]
    done = CliRunner().invoke(app, command)
    assert json.loads(done.stdout)["num_people"] == 3
