"""Read a data folder: `images/`, `ratings.csv`, and optionally `users.csv` and `images.csv`.

    ratings.csv   user_id,image,rating            or, with several aspects, user_id,image,rating_<aspect>,...
    images.csv    image[,scene][,...]             images of one scene are held out together
    users.csv     user_id[,...]

Shape letters: I = images, N = ratings, A = aspects.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.records import SCORE_MAX, SCORE_MIN, Scale

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
DEFAULT_ASPECT = "beauty"  # the aspect of a single column `rating`
_MAX_LISTED = 10  # bad rows that one error lists


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

    @property
    def score_NA(self) -> np.ndarray:
        """Ratings on the score scale 0-10, shape (N, A)."""
        share_NA = (self.rating_NA - self.scale.minimum) / (self.scale.maximum - self.scale.minimum)
        return SCORE_MIN + share_NA * (SCORE_MAX - SCORE_MIN)

    @property
    def num_scenes(self) -> int:
        return len(np.unique(self.scene_I))

    def image_path(self, image: str) -> Path:
        return self.path / "images" / image

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


def read_folder(path: Path, scale: Scale | None = None, aspect: str = DEFAULT_ASPECT) -> DataFolder:
    """Read and check a data folder.

    Args:
        path: the folder.
        scale: the scale of the ratings; None: from the smallest to the largest rating in the file.
        aspect: the aspect of a single column `rating`.

    Raises:
        InvalidInput: files or columns are missing, or rows are wrong; the message names the file and the lines.
    """
    images = _list_images(path / "images")
    columns, keys, lines, rating_NA = _read_ratings(path / "ratings.csv", frozenset(images))
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
    image_columns = _read_table(path / "images.csv", "image")
    return DataFolder(
        path=path,
        aspects=(aspect,) if columns == ["rating"] else tuple(name.removeprefix("rating_") for name in columns),
        scale=scale,
        people=people,
        images=images,
        scene_I=_scenes(images, image_columns),
        person_N=np.array([person_at[user_id] for user_id, _ in keys]),
        image_N=np.array([image_at[image] for _, image in keys]),
        rating_NA=rating_NA,
        user_columns=_read_table(path / "users.csv", "user_id"),
        image_columns=image_columns,
    )


def _list_images(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder; a data folder holds images/ and ratings.csv")
    images = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise InvalidInput(f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return tuple(images)


def _read_ratings(file: Path, images: frozenset[str]) -> tuple[list[str], list[tuple[str, str]], list[int], np.ndarray]:
    """Rating columns, (user id, image) and line of each row, and the ratings; an error lists bad rows by line."""
    header, rows = _read_csv(file)
    columns = [name for name in header if name == "rating" or name.startswith("rating_")]
    for needed in ("user_id", "image"):
        if needed not in header:
            raise InvalidInput(f"{file}, line 1: no column {needed!r}; columns separated by commas: {header}")
    if not columns or ("rating" in columns and len(columns) > 1) or "rating_" in columns:
        raise InvalidInput(f"{file}, line 1: one column 'rating', or columns 'rating_<aspect>'; found {header}")
    keys: list[tuple[str, str]] = []
    lines: list[int] = []
    ratings: list[list[float]] = []
    problems: list[str] = []
    first_line: dict[tuple[str, str], int] = {}
    for line, row in rows:
        try:
            key, values = _parse_rating(row, columns, images)
            if key in first_line:
                raise InvalidInput(f"user {key[0]!r} already rated image {key[1]!r} on line {first_line[key]}")
        except InvalidInput as error:
            problems.append(f"line {line}: {error}")
            continue
        first_line[key] = line
        keys.append(key)
        lines.append(line)
        ratings.append(values)
    if problems:
        listed = "; ".join(problems[:_MAX_LISTED])
        more = f"; and {len(problems) - _MAX_LISTED} more" if len(problems) > _MAX_LISTED else ""
        raise InvalidInput(f"{file}: {len(problems)} bad row(s): {listed}{more}")
    if not keys:
        raise InvalidInput(f"{file}: no ratings")
    return columns, keys, lines, np.array(ratings, np.float64)


def _parse_rating(
    row: dict[str, str], columns: Sequence[str], images: frozenset[str]
) -> tuple[tuple[str, str], list[float]]:
    user_id, image = row["user_id"].strip(), row["image"].strip()
    if not user_id:
        raise InvalidInput("no user_id")
    if image not in images:
        raise InvalidInput(f"image {image!r} is not in images/")
    values = []
    for column in columns:
        text = row[column].strip()
        try:
            value = float(text) if text else math.nan
        except ValueError:
            raise InvalidInput(f"{column} {text!r} is not a number") from None
        if text and not math.isfinite(value):
            raise InvalidInput(f"{column} {text!r} is not a finite number")
        values.append(value)
    if all(math.isnan(value) for value in values):
        raise InvalidInput(f"no {' or '.join(columns)}")
    return (user_id, image), values


def _scale_of(path: Path, rating_NA: np.ndarray) -> Scale:
    low, high = float(np.nanmin(rating_NA)), float(np.nanmax(rating_NA))
    if low == high:
        raise InvalidInput(f"{path / 'ratings.csv'}: every rating is {low:g}; give the scale that people rated on")
    return Scale(low, high)


def _scenes(images: Sequence[str], image_columns: dict[str, dict[str, str]]) -> np.ndarray:
    """The number of each image's scene; an image without a scene name is a scene of its own."""
    names = [image_columns.get(image, {}).get("scene") or f"image:{image}" for image in images]
    return np.unique(names, return_inverse=True)[1]


def _read_table(file: Path, key: str) -> dict[str, dict[str, str]]:
    """The rows of a table by its key column, without that column; empty if the file does not exist."""
    if not file.exists():
        return {}
    header, rows = _read_csv(file)
    if key not in header:
        raise InvalidInput(f"{file}, line 1: no column {key!r}; found {header}")
    table: dict[str, dict[str, str]] = {}
    for line, row in rows:
        name = row.pop(key)
        if name in table:
            raise InvalidInput(f"{file}, line {line}: {key} {name!r} occurs twice")
        table[name] = row
    return table


def _read_csv(file: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """Column names, and every row with the number of the line that it ends on."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InvalidInput(f"{file} does not exist") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is not UTF-8: {error}") from error
    reader = csv.reader(text.splitlines(keepends=True))
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise InvalidInput(f"{file}, line 1: {error}") from error
    if len(set(header)) != len(header):
        raise InvalidInput(f"{file}, line 1: a column name occurs twice: {header}")
    return header, _rows(file, reader, header)


def _rows(file: Path, reader: Iterator[list[str]], header: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        for values in reader:
            line = reader.line_num  # type: ignore[attr-defined]
            if not values:
                continue  # an empty line
            if len(values) != len(header):
                raise InvalidInput(f"{file}, line {line}: {len(values)} values under {len(header)} columns")
            yield line, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise InvalidInput(f"{file}, line {reader.line_num}: {error}") from error  # type: ignore[attr-defined]


def _known(what: str, wanted: Collection[str], known: Sequence[str]) -> tuple[str, ...]:
    if unknown := sorted(set(wanted) - set(known)):
        raise InvalidInput(f"{len(unknown)} unknown {what}: {', '.join(unknown[:_MAX_LISTED])}")
    chosen = set(wanted)
    return tuple(name for name in known if name in chosen)


def _new_positions(old: Sequence[str], new: Sequence[str]) -> np.ndarray:
    """The position of each old name among the new ones; -1 for a name that is not among them."""
    position_of = {name: position for position, name in enumerate(new)}
    return np.array([position_of.get(name, -1) for name in old])
