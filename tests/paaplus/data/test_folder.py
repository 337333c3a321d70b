from __future__ import annotations

import numpy as np
import pytest

from paaplus.data.folder import read_folder
from paaplus.errors import InvalidInput
from paaplus.records import Scale

RATINGS = """user_id,image,rating
anna,a.jpg,1
ben,a.jpg,7
anna,b.PNG,4
"""


@pytest.fixture
def folder(tmp_path):
    """Three images that nobody opens, and three ratings."""
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.PNG", "c.webp", "notes.txt"):
        (tmp_path / "images" / name).write_bytes(b"not opened")
    (tmp_path / "ratings.csv").write_text(RATINGS, encoding="utf-8")
    return tmp_path


def write(folder, text, file="ratings.csv"):
    (folder / file).write_text(text, encoding="utf-8")
    return folder


def test_ratings_people_and_images_are_read(folder):
    read = read_folder(folder)
    assert read.people == ("anna", "ben")
    assert read.images == ("a.jpg", "b.PNG", "c.webp")
    assert read.person_N.tolist() == [0, 1, 0]
    assert read.image_N.tolist() == [0, 0, 1]
    assert read.rating_NA.tolist() == [[1], [7], [4]]
    assert read.scale == Scale(1, 7)
    assert read.score_NA.tolist() == [[0], [10], [5]]
    assert read.aspects == ("beauty",)
    assert read.num_scenes == 3
    assert read_folder(folder, aspect="style").aspects == ("style",)


def test_scale_is_the_given_one(folder):
    assert read_folder(folder, Scale(-2, 8)).score_NA[:, 0].tolist() == [3, 9, 6]
    with pytest.raises(InvalidInput, match=r"ratings\.csv, line 3: rating 7 is outside the scale 1 to 5"):
        read_folder(folder, Scale(1, 5))


def test_scale_is_required_when_it_cannot_be_inferred(folder):
    write(folder, "user_id,image,rating\nanna,a.jpg,3\n")
    with pytest.raises(InvalidInput, match="every rating is 3; give the scale"):
        read_folder(folder)
    assert read_folder(folder, Scale(1, 5)).score_NA.tolist() == [[5]]


def test_aspects_may_be_unrated(folder):
    write(folder, "image,rating_shape,user_id,rating_light,comment\na.jpg,1,anna,,nice\nb.PNG,3,anna,2,\n")
    read = read_folder(folder)
    assert read.aspects == ("shape", "light")
    np.testing.assert_array_equal(read.rating_NA, [[1, np.nan], [3, 2]])
    assert read.scale == Scale(1, 3)


def test_scenes_and_other_tables_are_read(folder):
    write(folder, "image,scene,theme\na.jpg,park,x\nc.webp,park,y\nb.PNG,,z\n", "images.csv")
    write(folder, "user_id,age\nben,30\nzoe,20\n", "users.csv")
    with pytest.warns(UserWarning, match=r"users\.csv: 1 of 2 people rated nothing: line 3: 'zoe'"):
        read = read_folder(folder)
    assert read.scene_I[0] == read.scene_I[2] != read.scene_I[1]
    assert read.num_scenes == 2
    assert read.user_columns == {"ben": {"age": "30"}, "zoe": {"age": "20"}}
    assert read.image_columns["c.webp"] == {"scene": "park", "theme": "y"}


def test_table_may_come_from_a_spreadsheet(folder):
    (folder / "ratings.csv").write_bytes(
        b"\xef\xbb\xbfuser_id, image ,rating\r\n anna , a.jpg , 1 \r\n\r\nben,a.jpg,2.5\r\n"
    )
    read = read_folder(folder)
    assert (read.people, read.rating_NA[:, 0].tolist()) == (("anna", "ben"), [1, 2.5])


def test_every_bad_row_is_reported_with_its_line(folder):
    write(
        folder,
        "user_id,image,rating\nanna,a.jpg,1\nanna,nowhere.jpg,2\nben,a.jpg,good\nben,b.PNG,nan\n,b.PNG,3\nanna,a.jpg,2\nzoe,a.jpg,\n",
    )
    with pytest.raises(InvalidInput) as refused:
        read_folder(folder)
    message = str(refused.value)
    assert "6 bad row(s)" in message
    for part in (
        "line 3: image 'nowhere.jpg' is not in images/",
        "line 4: column 'rating': 'good' is not a number",
        "line 5: column 'rating': 'nan' is not a number",
        "line 6: no user_id",
        "line 7: user 'anna' already rated image 'a.jpg' on line 2",
        "line 8: no rating",
    ):
        assert part in message


def test_only_the_first_bad_rows_are_listed_when_there_are_many(folder):
    write(folder, "user_id,image,rating\n" + "".join(f"u{n},a.jpg,x\n" for n in range(25)))
    with pytest.raises(InvalidInput, match=r"25 bad row\(s\).*line 11: .*and 15 more"):
        read_folder(folder)


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "sub/a.jpg"])
def test_image_outside_the_folder_is_refused(folder, name):
    write(folder, f"user_id,image,rating\nanna,{name},1\n")
    with pytest.raises(InvalidInput, match="is not in images/"):
        read_folder(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no column 'user_id'"),
        ("user_id,rating\n", r"line 1: no column 'image'"),
        ("user_id;image;rating\n", r"no column 'user_id', 'image'; .* is the delimiter ';' \(semicolon\)\?"),
        ("user_id,image\n", r"one column 'rating', or columns 'rating_<aspect>'"),
        ("user_id,image,rating,rating_light\n", r"one column 'rating'"),
        ("user_id,image,rating_\n", r"column 'rating_' has no meaning; if it is 'rating'"),
        ("user_id,image,rating,rating\n", r"occurs twice"),
        ("user_id,image,rating\n", r"no ratings"),
        ("user_id,image,rating\nanna,a.jpg,1,2\n", r"line 2: 4 values under 3 columns"),
        ('user_id,image,rating\n"an\nna",a.jpg,1\nben\n', r"line 4: 1 values under 3 columns"),
    ],
)
def test_file_is_refused_when_its_shape_is_wrong(folder, text, message):
    with pytest.raises(InvalidInput, match=message):
        read_folder(write(folder, text))


def test_optional_tables_are_checked_too(folder):
    write(folder, "image,scene\na.jpg,1\na.jpg,2\n", "images.csv")
    with pytest.raises(InvalidInput, match=r"images\.csv: line 3: image 'a\.jpg' is on line 2 too"):
        read_folder(folder)
    write(folder, "scene\n1\n", "images.csv")
    with pytest.raises(InvalidInput, match=r"images\.csv, line 1: no column 'image'"):
        read_folder(folder)


def test_folder_is_refused_when_something_is_missing(folder, tmp_path):
    (folder / "ratings.csv").write_bytes(b"user_id,image,rating\n\xff\xfe,a.jpg,1\n")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        read_folder(folder)
    (folder / "ratings.csv").unlink()
    with pytest.raises(InvalidInput, match=r"ratings\.csv does not exist"):
        read_folder(folder)
    with pytest.raises(InvalidInput, match="images is not a folder"):
        read_folder(tmp_path / "nowhere")
    (tmp_path / "empty" / "images").mkdir(parents=True)
    with pytest.raises(InvalidInput, match="holds no image"):
        read_folder(tmp_path / "empty")


def test_part_of_a_folder_holds_only_what_was_named(folder):
    write(folder, "image,scene\na.jpg,park\nc.webp,park\n", "images.csv")
    part = read_folder(folder).only(people=["anna"], images=["b.PNG", "c.webp"])
    assert (part.people, part.images) == (("anna",), ("b.PNG", "c.webp"))
    assert (part.person_N.tolist(), part.image_N.tolist()) == ([0], [0])
    assert part.rating_NA.tolist() == [[4]]
    assert part.scale == Scale(1, 7)  # of all that was read: a part does not stretch the ratings
    assert part.scene_I[0] != part.scene_I[1]
    everything = read_folder(folder).only()
    assert len(everything.person_N) == 3


def test_part_of_a_folder_is_refused_when_a_name_is_unknown_or_nothing_is_left(folder):
    read = read_folder(folder)
    with pytest.raises(InvalidInput, match="2 unknown people: carl; dora"):
        read.only(people=["dora", "anna", "carl"])
    with pytest.raises(InvalidInput, match=r"1 unknown images: d\.jpg"):
        read.only(images=["d.jpg"])
    with pytest.raises(InvalidInput, match="no rating of 1 people on 1 images"):
        read.only(people=["ben"], images=["b.PNG"])


def test_scene_that_is_called_like_an_image_is_another_one(folder):
    write(folder, "image,scene\na.jpg,image:c.webp\n", "images.csv")
    assert read_folder(folder).num_scenes == 3


@pytest.mark.parametrize("name", ["Images.csv", "image.csv", "images.CSV", "images2.csv"])
def test_a_table_that_would_silently_not_count_is_refused(folder, name):
    write(folder, "image,scene\na.jpg,park\nb.PNG,park\n", name)
    with pytest.raises(InvalidInput, match=rf"{name} is not read; if it is images\.csv, call it so"):
        read_folder(folder)
    write(folder, "image,scene\na.jpg,park\nb.PNG,park\n", "images.csv")
    assert read_folder(folder).num_scenes == 2


def test_ratings_under_a_near_name_are_found(folder):
    (folder / "ratings.csv").rename(folder / "rating.csv")
    with pytest.raises(InvalidInput, match=r"rating\.csv is not read; if it is ratings\.csv"):
        read_folder(folder)


@pytest.mark.parametrize("column", ["Rating_light", "ratings_light", "rating light", "rating-light"])
def test_a_column_that_is_nearly_an_aspects_is_refused(folder, column):
    write(folder, f"user_id,image,rating_shape,{column}\nanna,a.jpg,1,2\n")
    with pytest.raises(InvalidInput, match=rf"line 1: column '{column}' has no meaning; is 'rating_light' meant"):
        read_folder(folder)


@pytest.mark.parametrize(
    ("aspect", "why"), [(" light", "begins or ends with a space"), ("x" * 65, "has 65 characters")]
)
def test_aspects_have_the_names_that_the_platform_takes(folder, aspect, why):
    with pytest.raises(InvalidInput, match=rf"ratings\.csv, line 1: the aspect .*{why}"):
        read_folder(folder, aspect=aspect)
    write(folder, f"user_id,image,rating_shape,rating_{aspect}\nanna,a.jpg,1,2\n")
    with pytest.raises(InvalidInput, match=rf"ratings\.csv, line 1: the aspect .*{why}"):
        read_folder(folder)
