"""What every published data set is read into: image files, ratings, and what is known about people and images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from paaplus.csv_files import CsvFormat, parse_csv
from paaplus.errors import InvalidInput
from paaplus.numbers import parse_number
from paaplus.records import Scale

EVERYBODY = "everybody"  # the one user of a data set that has mean ratings only
TRAIN, TEST = "train", "test"  # values of the column `split` of images.csv and users.csv


@dataclass
class Release:
    """One data set.

    Attributes:
        scale: of the ratings.
        ratings: (user id, image, rating) in the order of the files; the image is a key of `files`.
        files: name in the data folder -> image file of the release.
        users: user id -> columns of users.csv.
        images: image -> columns of images.csv.
        missing: images that were rated and have no file here.
    """

    scale: Scale
    ratings: list[tuple[str, str, float]] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    users: dict[str, dict[str, str]] = field(default_factory=dict)
    images: dict[str, dict[str, str]] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)

    def rate(self, user_id: str, image: str, file: Path | None, rating: float) -> None:
        """Add a rating, unless its image has no file."""
        if file is None:
            self.missing.add(image)
            return
        self.files.setdefault(image, file)
        self.ratings.append((user_id, image, rating))


def required(*candidates: Path) -> Path:
    """The first file or folder that is there.

    Raises:
        InvalidInput: none is.
    """
    for one in candidates:
        if one.exists():
            return one
    raise InvalidInput(f"none of {', '.join(str(one) for one in candidates)}: not the layout of the release")


def table(file: Path, delimiter: str = ",", encoding: str = "utf-8-sig") -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of every row, by column; spaces around names and cells are dropped.

    A file that is not UTF-8 is read as Latin-1, as releases with artists' names are.

    Raises:
        InvalidInput: the file cannot be read, or a row has not as many cells as the header.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file}: {error}") from error
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    for row in parse_csv(text.encode(), str(file), (), layout=CsvFormat(delimiter)).rows:
        yield row.line, row.cells


def cell(file: Path, line: int, row: dict[str, str], *names: str) -> str:
    """The first of these columns that the row has.

    Raises:
        InvalidInput: it has none.
    """
    for name in names:
        if name in row:
            return row[name]
    raise InvalidInput(f"{file}, line {line}: no column {' or '.join(names)}; found {', '.join(list(row)[:12])}")


def number(file: Path, line: int, text: str) -> float:
    """A finite number.

    Raises:
        InvalidInput: something else.
    """
    try:
        return parse_number(text)
    except InvalidInput as error:
        raise InvalidInput(f"{file}, line {line}: {error}") from None


def files_below(folder: Path) -> dict[str, Path]:
    """Image files by name, in this folder and below it; of one name the first in order."""
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"):
            found.setdefault(file.name, file)
    return found
