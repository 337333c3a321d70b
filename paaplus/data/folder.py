"""Read a data folder: `images/`, `ratings.csv`, and optionally `users.csv` and `images.csv`.

    ratings.csv   user_id,image,rating            or, with several aspects, user_id,image,rating_<aspect>,...
    images.csv    image[,scene][,...]             images of one scene are held out together; every image exists
    users.csv     user_id[,...]

Shape letters: I = images, N = ratings, A = aspects.
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from paaplus.csv_files import NEAR, STANDARD, CsvFormat, CsvRow, read_csv
from paaplus.data.image_folder import IMAGE_SUFFIXES, first_of, list_images
from paaplus.errors import InvalidInput
from paaplus.records import SCORE_MAX, SCORE_MIN, Scale
from paaplus.texts import checked_id

USER_ID_MAX = 128
ASPECT_MAX = 64
TABLES = ("ratings.csv", "images.csv", "users.csv")
_RATING_COLUMN = re.compile(r"ratings?[ ._-]+(?P<aspect>.+)", re.IGNORECASE)
DEFAULT_ASPECT = "beauty"  # the aspect of a single column `rating`


@dataclass(frozen=True)
class DataFolder:
    """A data set of rated images. `person_N` and `image_N` hold positions in `people` and `images`.

    Attributes:
        path: the folder.
        aspects: rated aspects.
        scale: the scale of `rating_NA`.
        people: user ids, sorted.
        images: names of all image files, rated or not, sorted.
        scene_I: number of each image's scene.
        person_N: who gave each rating.
        image_N: the image of each rating.
        rating_NA: ratings as they were given, on `scale`; NaN where an aspect was not rated.
        user_columns: user id -> the other columns of users.csv.
        image_columns: image name -> the other columns of images.csv.
        file_names: image name -> name on disk, where these differ in their Unicode form.
    """

    path: Path
    aspects: tuple[str, ...]
    scale: Scale
    people: tuple[str, ...]
    images: tuple[str, ...]
    scene_I: np.ndarray
    person_N: np.ndarray
    image_N: np.ndarray
    rating_NA: np.ndarray
    user_columns: dict[str, dict[str, str]]
    image_columns: dict[str, dict[str, str]]
    file_names: dict[str, str] = field(default_factory=dict)

    @property
    def score_NA(self) -> np.ndarray:
        """Ratings on the score scale 0-10, shape (N, A)."""
        share_NA = (self.rating_NA - self.scale.minimum) / (self.scale.maximum - self.scale.minimum)
        return SCORE_MIN + share_NA * (SCORE_MAX - SCORE_MIN)

    @property
    def num_scenes(self) -> int:
        return len(np.unique(self.scene_I))

    def image_path(self, image: str) -> Path:
        return self.path / "images" / self.file_names.get(image, image)

    def scores_by_person(self) -> dict[str, dict[int, np.ndarray]]:
        """User id -> image position -> ratings on the score scale 0-10, shape (A,), in the order of the ratings."""
        scores: dict[str, dict[int, np.ndarray]] = {user_id: {} for user_id in self.people}
        for person, image, score_A in zip(self.person_N, self.image_N.tolist(), self.score_NA, strict=True):
            scores[self.people[person]][image] = score_A
        return scores

    def only(self, people: Collection[str] | None = None, images: Collection[str] | None = None) -> DataFolder:
        """The data set of these people and images alone; `None` stands for all people or all images.

        Raises:
            InvalidInput: a name that the folder does not have, or no rating is left.
        """
        kept_people = self.people if people is None else _known("people", people, self.people)
        kept_images = self.images if images is None else _known("images", images, self.images)
        new_person = _new_positions(self.people, kept_people)
        new_image = _new_positions(self.images, kept_images)
        kept_N = (new_person[self.person_N] >= 0) & (new_image[self.image_N] >= 0)
        if not kept_N.any():
            raise InvalidInput(f"{self.path}: no rating of {len(kept_people)} people on {len(kept_images)} images")
        return replace(
            self,
            people=kept_people,
            images=kept_images,
            scene_I=self.scene_I[new_image >= 0],
            person_N=new_person[self.person_N[kept_N]],
            image_N=new_image[self.image_N[kept_N]],
            rating_NA=self.rating_NA[kept_N],
        )


def read_folder(
    path: Path,
    scale: Scale | None = None,
    aspect: str = DEFAULT_ASPECT,
    *,
    layout: CsvFormat = STANDARD,
    strict: bool = False,
) -> DataFolder:
    """Read and check a data folder.

    Args:
        path: the folder.
        scale: the scale of the ratings; None: from the smallest to the largest rating in the file.
        aspect: the aspect of a single column `rating`.
        layout: delimiter and decimal mark of the tables.
        strict: refuse what is otherwise skipped with a warning: files in images/ that are no images, and people of
            users.csv who rated nothing.

    Raises:
        InvalidInput: files or columns are missing, or rows are wrong; the message names the file and the lines.
    """
    _check_names_of_tables(path)
    files = list_images(path / "images", strict=strict)
    images = tuple(sorted(files))
    columns, keys, lines, rating_NA = _read_ratings(path / "ratings.csv", frozenset(images), layout)
    if scale is None:
        scale = _scale_of(path, rating_NA)
    elif (outside := (rating_NA < scale.minimum) | (rating_NA > scale.maximum)).any():
        n, a = np.argwhere(outside)[0]
        raise InvalidInput(
            f"{path / 'ratings.csv'}, line {lines[n]}: rating {rating_NA[n, a]:g} is outside the scale "
            f"{scale.minimum:g} to {scale.maximum:g}"
        )
    people = tuple(sorted({user_id for user_id, _ in keys}))
    person_at = {user_id: position for position, user_id in enumerate(people)}
    image_at = {image: position for position, image in enumerate(images)}
    image_columns = _read_image_table(path / "images.csv", frozenset(images), layout)
    return DataFolder(
        path=path,
        aspects=_aspects(columns, aspect, path / "ratings.csv"),
        scale=scale,
        people=people,
        images=images,
        scene_I=_scenes(images, image_columns),
        person_N=np.array([person_at[user_id] for user_id, _ in keys]),
        image_N=np.array([image_at[image] for _, image in keys]),
        rating_NA=rating_NA,
        user_columns=_read_user_table(path / "users.csv", frozenset(people), layout, strict),
        image_columns=image_columns,
        file_names={image: name for image, name in files.items() if image != name},
    )


def _check_names_of_tables(path: Path) -> None:
    """Refuse a table that would silently not count, because it is called nearly as one that does."""
    there = sorted(file.name for file in path.glob("*") if file.suffix.lower() == ".csv" and file.is_file())
    for table in TABLES:
        others = [name for name in there if name not in TABLES]
        near = [name for name in others if get_close_matches(table, [name.lower()], 1, NEAR)]
        if table not in there and near:
            raise InvalidInput(f"{path / near[0]} is not read; if it is {table}, call it so")


def _aspects(columns: Sequence[str], single: str, file: Path) -> tuple[str, ...]:
    """The aspects that the rating columns are of."""
    named = [single] if columns == ["rating"] else [name.removeprefix("rating_") for name in columns]
    try:
        return tuple(checked_id(name, ASPECT_MAX, "the aspect") for name in named)
    except InvalidInput as error:
        raise InvalidInput(f"{file}, line 1: {error}") from error


def _read_ratings(
    file: Path, images: frozenset[str], layout: CsvFormat
) -> tuple[list[str], list[tuple[str, str]], list[int], np.ndarray]:
    """Rating columns, (user id, image) and line of each row, and the ratings; an error lists bad rows by line."""
    table = read_csv(file, ("user_id", "image"), ("rating",), layout)
    columns = [name for name in table.columns if name == "rating" or name.startswith("rating_")]
    if not columns or ("rating" in columns and len(columns) > 1) or "rating_" in columns:
        raise InvalidInput(
            f"{file}, line 1: one column 'rating', or columns 'rating_<aspect>'; found {list(table.columns)}"
        )
    for name in table.columns:
        if name not in columns and (meant := _RATING_COLUMN.fullmatch(name)):
            raise InvalidInput(f"{file}, line 1: column {name!r} has no meaning; is 'rating_{meant['aspect']}' meant?")
    first_line: dict[tuple[str, str], int] = {}

    def parse(row: CsvRow) -> tuple[tuple[str, str], int, list[float]]:
        key, values = _parse_rating(row, columns, images, file.parent / "images")
        if first_line.setdefault(key, row.line) != row.line:
            raise InvalidInput(f"user {key[0]!r} already rated image {key[1]!r} on line {first_line[key]}")
        return key, row.line, values

    rows = table.read(parse)
    if not rows:
        raise InvalidInput(f"{file}: no ratings")
    keys, lines, ratings = zip(*rows, strict=True)
    return columns, list(keys), list(lines), np.array(ratings, np.float64)


def _parse_rating(
    row: CsvRow, columns: Sequence[str], images: frozenset[str], folder: Path
) -> tuple[tuple[str, str], list[float]]:
    user_id, image = row.text("user_id"), row.text("image")
    checked_id(user_id, USER_ID_MAX, "user_id")
    _check_image(image, images, folder)
    given = [row.number(column) for column in columns]
    if all(value is None for value in given):
        raise InvalidInput(f"no {' or '.join(columns)}")
    return (user_id, image), [math.nan if value is None else value for value in given]


def _check_image(image: str, images: frozenset[str], folder: Path) -> None:
    if image in images:
        return
    meant = [name for name in images if Path(name).stem in (image, Path(image).stem)]
    is_inside = not os.path.isabs(image) and ".." not in Path(image).parts
    if is_inside and os.path.isfile(folder / image):  # not pathlib's, which refuses a name that is too long
        known = ", ".join(IMAGE_SUFFIXES)
        raise InvalidInput(f"image {image!r} cannot be used: images are {known} files in images/ itself, and not empty")
    advice = f"; {meant[0]!r} is" if len(meant) == 1 else ""
    raise InvalidInput(f"image {image!r} is not in images/{advice}")


def _scale_of(path: Path, rating_NA: np.ndarray) -> Scale:
    low, high = float(np.nanmin(rating_NA)), float(np.nanmax(rating_NA))
    if low == high:
        raise InvalidInput(f"{path / 'ratings.csv'}: every rating is {low:g}; give the scale that people rated on")
    return Scale(low, high)


def _scenes(images: Sequence[str], image_columns: dict[str, dict[str, str]]) -> np.ndarray:
    """The number of each image's scene; an image without a scene name is a scene of its own."""
    scenes = [image_columns.get(image, {}).get("scene") for image in images]
    # Beginnings of their own: a scene may be called like an image.
    names = [f"scene:{scene}" if scene else f"image:{image}" for image, scene in zip(images, scenes, strict=True)]
    return np.unique(names, return_inverse=True)[1]


def _read_image_table(file: Path, images: frozenset[str], layout: CsvFormat) -> dict[str, dict[str, str]]:
    """The rows of images.csv by image. A row of no image is refused: its scene would silently not count."""

    def check(row: CsvRow) -> None:
        _check_image(row.text("image"), images, file.parent / "images")

    return _read_table(file, "image", ("scene",), layout, check)


def _read_user_table(file: Path, people: frozenset[str], layout: CsvFormat, strict: bool) -> dict[str, dict[str, str]]:
    """The rows of users.csv by user id. A row of a person who rated nothing is of no use, and no harm."""
    unknown: list[str] = []

    def check(row: CsvRow) -> None:
        if row.text("user_id") not in people:
            unknown.append(f"line {row.line}: {row.text('user_id')!r}")

    table = _read_table(file, "user_id", (), layout, check)
    if unknown:
        message = f"{file}: {len(unknown)} of {len(table)} people rated nothing: {first_of(unknown)}"
        if strict or len(unknown) == len(table):
            raise InvalidInput(message)
        warnings.warn(message, stacklevel=3)
    return table


def _read_table(
    file: Path, key: str, known: Collection[str], layout: CsvFormat, check: Callable[[CsvRow], None]
) -> dict[str, dict[str, str]]:
    """The rows of a table by its key column, without that column; empty if the file does not exist."""
    if not file.exists():
        return {}
    first_line: dict[str, int] = {}

    def parse(row: CsvRow) -> tuple[str, dict[str, str]]:
        name = row.text(key)
        check(row)
        if first_line.setdefault(name, row.line) != row.line:
            raise InvalidInput(f"{key} {name!r} is on line {first_line[name]} too")
        return name, {column: cell for column, cell in row.cells.items() if column != key}

    return dict(read_csv(file, (key,), known, layout).read(parse))


def _known(what: str, wanted: Collection[str], known: Sequence[str]) -> tuple[str, ...]:
    if unknown := sorted(set(wanted) - set(known)):
        raise InvalidInput(f"{len(unknown)} unknown {what}: {first_of(unknown)}")
    chosen = set(wanted)
    return tuple(name for name in known if name in chosen)


def _new_positions(old: Sequence[str], new: Sequence[str]) -> np.ndarray:
    """The position of each old name among the new ones; -1 for a name that is not among them."""
    position_of = {name: position for position, name in enumerate(new)}
    return np.array([position_of.get(name, -1) for name in old])
