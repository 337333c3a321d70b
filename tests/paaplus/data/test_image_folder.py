"""Image files of a data folder: stray ones do not stop the work, and rated ones are looked at before it."""

from __future__ import annotations

import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paaplus.client import ranking
from paaplus.data.folder import read_folder
from paaplus.data.image_folder import IMAGE_SUFFIXES
from paaplus.data.readable_images import readable_images
from paaplus.errors import InvalidInput
from paaplus.image_kinds import PHOTO_SUFFIXES

APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(100)
PNG_WITHOUT_END = b"\x89PNG\r\n\x1a\n" + bytes(20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    rows = ["user_id,image,rating"]
    for i in range(4):
        Image.fromarray(np.full((8, 8, 3), 40 * i, np.uint8)).save(tmp_path / "images" / f"i{i}.jpg")
        rows += [f"ann,i{i}.jpg,{i}"]
    (tmp_path / "ratings.csv").write_text("\n".join(rows))
    return tmp_path


def add_strays(folder: Path) -> None:
    images = folder / "images"
    (images / "._i3.jpg").write_bytes(APPLE_DOUBLE)
    (images / ".hidden.png").write_bytes(b"x")
    (images / "empty.jpg").touch()
    (images / "album.jpg").mkdir()
    (images / "link.jpg").symlink_to(images / "nothing.jpg")
    (images / ".DS_Store").write_bytes(b"x")
    (images / "notes.txt").write_text("x")


def test_stray_files_are_skipped_with_a_counted_warning(folder: Path) -> None:
    add_strays(folder)
    with pytest.warns(UserWarning, match=r"images: 5 file\(s\) skipped") as told:
        read = read_folder(folder)
    assert read.images == ("i0.jpg", "i1.jpg", "i2.jpg", "i3.jpg")
    message = str(told[0].message)
    for part in (
        "'._i3.jpg' (a hidden file)",
        "'empty.jpg' (an empty file)",
        "'album.jpg' (a folder)",
        "a link to nothing",
    ):
        assert part in message
    with pytest.raises(InvalidInput, match=r"5 file\(s\) skipped"):
        read_folder(folder, strict=True)


def test_unrated_image_that_cannot_be_read_is_left_out(folder: Path) -> None:
    (folder / "images" / "zz.png").write_bytes(PNG_WITHOUT_END)
    (folder / "images" / "text.jpg").write_text("this is not an image")
    read = read_folder(folder)
    with pytest.warns(
        UserWarning, match=r"images: 2 file\(s\) skipped: 'text\.jpg' \(not a JPEG.*'zz\.png' \(the file is damaged"
    ):
        usable = readable_images(read)
    assert usable.images == ("i0.jpg", "i1.jpg", "i2.jpg", "i3.jpg")
    assert usable.rating_NA.tolist() == read.rating_NA.tolist()
    with pytest.raises(InvalidInput, match=r"2 file\(s\) skipped"):
        readable_images(read, strict=True)


def test_rated_image_that_is_none_is_refused_at_once(folder: Path) -> None:
    (folder / "images" / "i2.jpg").write_text("this is not an image")
    with pytest.raises(InvalidInput, match=r"1 rated image\(s\) cannot be read: .*i2\.jpg: not a JPEG, PNG or WebP"):
        readable_images(read_folder(folder))
    (folder / "images" / "i2.jpg").write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="an empty file"),
        pytest.raises(InvalidInput, match=r"ratings\.csv: line 4: image 'i2\.jpg' cannot be used: .* and not empty"),
    ):
        read_folder(folder)


def test_folder_without_strays_says_nothing(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = read_folder(folder)
        assert readable_images(read) is read


def test_names_are_found_in_either_form_of_unicode(folder: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Café.jpg")
    (folder / "images" / "i0.jpg").rename(folder / "images" / decomposed)
    (folder / "ratings.csv").write_text("user_id,image,rating\nann,Café.jpg,1\nann,i1.jpg,2\n")
    read = read_folder(folder)
    assert read.images[0] == "Café.jpg"
    assert read.image_path("Café.jpg").is_file()
    (folder / "images" / "i1.jpg").rename(folder / "images" / "Café.jpg")
    with pytest.raises(InvalidInput, match=r"two files are called 'Café\.jpg'"):
        read_folder(folder)


SCENES = [(f"i{i}.jpg", f"s{i // 2}") for i in range(4)]


def with_scenes(folder: Path, header: str, rows: list[tuple[str, str]]) -> Path:
    (folder / "images.csv").write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return folder


def test_scenes_are_those_of_the_table(folder: Path) -> None:
    assert read_folder(with_scenes(folder, "image,scene", SCENES)).num_scenes == 2
    padded = [
        (f" {image} ", " s0" if scene == "s0" and image == "i0.jpg" else f"{scene}\u00a0") for image, scene in SCENES
    ]
    assert read_folder(with_scenes(folder, "image , scene", padded)).num_scenes == 2


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("image,scene", [("images/i0.jpg", "s0")], r"line 2: image 'images/i0\.jpg' is not in images/; 'i0\.jpg' is"),
        ("image,scene", [("i0", "s0"), ("i1", "s0")], r"2 bad row\(s\): line 2: image 'i0' is not in images/; 'i0"),
        ("image,scene", [*SCENES, ("gone.jpg", "s9")], r"images\.csv: line 6: image 'gone\.jpg' is not in images/"),
        ("image,scene", [*SCENES, SCENES[0]], r"line 6: image 'i0\.jpg' is on line 2 too"),
        ("image,scene", [("", "s1")], "line 2: no image"),
        ("image,Scene", SCENES, r"line 1: column 'Scene' must be written 'scene'"),
        ("image, scene ,scene", [(a, b, b) for a, b in SCENES], "column 'scene' occurs twice"),
        ("Image,scene", SCENES, "column 'Image' must be written 'image'"),
    ],
)  # fmt: skip
def test_scene_of_no_image_is_refused_with_its_line(folder: Path, header: str, rows: list, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_folder(with_scenes(folder, header, rows))


def test_people_of_the_table_are_those_who_rated(folder: Path) -> None:
    (folder / "users.csv").write_text("user_id,age\n ann ,30\n")
    assert read_folder(folder).user_columns == {"ann": {"age": "30"}}
    (folder / "users.csv").write_text("user_id,age\nAnn,30\n")
    with pytest.raises(InvalidInput, match=r"users\.csv: 1 of 1 people rated nothing: line 2: 'Ann'"):
        read_folder(folder)
    (folder / "users.csv").write_text("user_id,age\nann,30\nben,31\n")
    with pytest.warns(UserWarning, match=r"1 of 2 people rated nothing: line 3: 'ben'"):
        read_folder(folder)
    with pytest.raises(InvalidInput, match=r"1 of 2 people rated nothing"):
        read_folder(folder, strict=True)
    (folder / "users.csv").write_text("user_id,age\nann,30\nann,31\n")
    with pytest.raises(InvalidInput, match="line 3: user_id 'ann' is on line 2 too"):
        read_folder(folder)


@pytest.mark.parametrize("kind", ["webp", "png"])
def test_a_rated_animation_is_refused_before_features_are_computed(folder: Path, kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    file = folder / "images" / f"moves.{kind}"
    frames[0].save(file, save_all=True, append_images=frames[1:])
    with (folder / "ratings.csv").open("a") as ratings:
        ratings.write(f"\nann,{file.name},2\n")
    with pytest.raises(InvalidInput, match=r"1 rated image\(s\) cannot be read: .*an animation of 2 frames"):
        readable_images(read_folder(folder))
    frames[0].save(file, save_all=True)  # one frame: decoding takes it, too
    assert file.name in readable_images(read_folder(folder)).images


def test_spaces_around_a_files_name_are_those_around_a_cell(folder: Path) -> None:
    """Else the rating of ` i0.jpg` would stand on the file `i0.jpg`."""
    images = folder / "images"
    (images / "i0.jpg").rename(images / " i0.jpg")
    read = read_folder(folder)
    assert read.image_path("i0.jpg") == images / " i0.jpg"
    (images / " i1.jpg").write_bytes((images / "i2.jpg").read_bytes())
    with pytest.raises(InvalidInput, match=r"two files are called 'i1\.jpg': their names differ in spaces around them"):
        read_folder(folder)


@pytest.mark.parametrize("name", ["i9.heic", "sub/i9.jpg"])
def test_rated_files_that_do_not_count_are_told_apart_from_missing_ones(folder: Path, name: str) -> None:
    file = folder / "images" / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"x")
    with (folder / "ratings.csv").open("a") as ratings:
        ratings.write(f"\nann,{name},2\n")
    with pytest.raises(InvalidInput, match=f"line 6: image '{name}' cannot be used: images are .jpg"):
        read_folder(folder)


def test_copies_of_one_file_are_one_scene_whatever_the_table_says(folder: Path) -> None:
    """Else one of them would be trained on, and the other one tested."""
    images = folder / "images"
    (images / "copy.jpg").write_bytes((images / "i0.jpg").read_bytes())
    (folder / "images.csv").write_text("image,scene\ni0.jpg,park\ni1.jpg,park\ncopy.jpg,street\ni2.jpg,street\n")
    read = read_folder(folder)
    assert read.num_scenes == 3
    with pytest.warns(
        UserWarning, match=r"1 image\(s\) with copies in other scenes, now one: 'copy\.jpg' and 'i0\.jpg'"
    ):
        usable = readable_images(read)
    of_image = dict(zip(usable.images, usable.scene_I.tolist(), strict=True))
    assert len({of_image[name] for name in ("copy.jpg", "i0.jpg", "i1.jpg", "i2.jpg")}) == 1
    assert usable.num_scenes == 2


def test_copies_in_one_scene_change_nothing(folder: Path) -> None:
    images = folder / "images"
    (images / "copy.jpg").write_bytes((images / "i0.jpg").read_bytes())
    (folder / "images.csv").write_text("image,scene\ni0.jpg,park\ncopy.jpg,park\n")
    read = read_folder(folder)
    assert readable_images(read) is read


def test_all_names_of_jpegs_are_known_to_every_reader_of_folders(folder: Path) -> None:
    """Browsers on Windows save a JPEG as `.jfif`."""
    for suffix in ("jpe", "jfif", "JFIF"):
        (folder / "images" / f"new.{suffix}").write_bytes((folder / "images" / "i1.jpg").read_bytes())
    assert {"new.jpe", "new.jfif", "new.JFIF"} <= set(read_folder(folder).images)
    assert set(IMAGE_SUFFIXES) == ranking.SUFFIXES
    assert {suffix[1:] for suffix in IMAGE_SUFFIXES} <= PHOTO_SUFFIXES
