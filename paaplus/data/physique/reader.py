"""Read PhysiqueAA50K, or a data set in its layout, and report every wrong row.

    images/                                    all pictures; the caller may name another folder
    pretrain/{train,val}.csv                   split `expert`; also pretrain/<type>/{train,val}.csv
    finetune/<type>/{train,val}.csv            split `finetune`
    user/<type>/{train,val}.csv                split `user`
    meshes/                                    optional: see paaplus.data.physique.meshes

A type is a kind of person, such as ISFJ; the release names experts and users by it.

Shape letters: N = rows, A = aspects, P = preference values.
"""

from __future__ import annotations

import json
import math
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from paaplus.csv_files import CsvFault, read_cells
from paaplus.data.image_folder import IMAGE_SUFFIXES
from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.network.config import ASPECTS
from paaplus.numbers import parse_number
from paaplus.records import SCORE_MAX, SCORE_MIN

SPLIT_FOLDERS = {"expert": "pretrain", "finetune": "finetune", "user": "user"}
PARTS = ("train", "val")
NUM_PREFERENCES = 5
_SCORE_COLUMNS = {  # new name: old name
    "score_appearance": "score",
    "score_health": "score_shape",
    "score_posture": "score_pose",
}
_OTHER_COLUMNS = ("preference_score_list", "bmi", "people_answer")
_MAX_LISTED = 10


@dataclass(frozen=True)
class Problem:
    """A problem in a file and its line. The row of a `warning` is still read."""

    file: Path
    line: int  # 1 is the header
    message: str
    severity: str = "error"

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.message}"


@dataclass(frozen=True, eq=False)
class PhysiqueRows:
    """The rows of one CSV file, in its order."""

    file: Path
    image_dir: Path
    images: tuple[str, ...]  # paths relative to the image folder
    score_NA: np.ndarray  # float32, 0-10: appearance, health, posture
    preference_NP: np.ndarray  # float32
    bmi_N: np.ndarray  # float32; NaN where not given
    answers: tuple[str, ...]  # people_answer, unchanged
    line_N: np.ndarray  # int64: line of each row in the file

    def __len__(self) -> int:
        return len(self.images)

    def image_path(self, image: str) -> Path:
        return self.image_dir / image


@dataclass(frozen=True)
class _Row:
    line: int
    image: str
    score_A: tuple[float, ...]
    preference_P: tuple[float, ...]
    bmi: float
    answer: str


def split_folder(root: Path, split: str, person_type: str | None = None) -> Path:
    """The folder of a split's two CSV files.

    Raises:
        InvalidInput: an unknown split, no such folder, or a type is required and not given.
    """
    if split not in SPLIT_FOLDERS:
        raise InvalidInput(f"split {split!r}; known: {sorted(SPLIT_FOLDERS)}")
    base = root / SPLIT_FOLDERS[split]
    folder = base / person_type if person_type else base
    if (folder / "train.csv").is_file():
        return folder
    types = person_types(root, split)
    what = f"no type {person_type!r}" if person_type else "a type is required"
    raise InvalidInput(f"{base}: {what}; types: {list(types)}" if types else f"{folder / 'train.csv'} is missing")


def person_types(root: Path, split: str) -> tuple[str, ...]:
    """The types that have CSV files of their own in a split, sorted."""
    base = root / SPLIT_FOLDERS[split]
    return tuple(sorted(file.parent.name for file in base.glob("*/train.csv")))


def read_rows(file: Path, image_dir: Path) -> PhysiqueRows:
    """The rows of one CSV file.

    Raises:
        InvalidInput: the file or a column is missing, or rows are wrong; the message names the file and the lines.
    """
    rows, problems = _parse(file, image_dir)
    if wrong := [problem for problem in problems if problem.severity == "error"]:
        more = f"\nand {len(wrong) - _MAX_LISTED} more" if len(wrong) > _MAX_LISTED else ""
        raise InvalidInput("\n".join(map(str, wrong[:_MAX_LISTED])) + more)
    if not rows:
        raise InvalidInput(f"{file} has no rows")
    return PhysiqueRows(
        file=file,
        image_dir=image_dir,
        images=tuple(row.image for row in rows),
        score_NA=np.array([row.score_A for row in rows], np.float32),
        preference_NP=np.array([row.preference_P for row in rows], np.float32),
        bmi_N=np.array([row.bmi for row in rows], np.float32),
        answers=tuple(row.answer for row in rows),
        line_N=np.array([row.line for row in rows]),
    )


def read_split(
    root: Path, split: str, person_type: str | None = None, image_dir: Path | None = None
) -> tuple[PhysiqueRows, PhysiqueRows]:
    """The training and validation rows of a split.

    Raises:
        InvalidInput: as `split_folder` and `read_rows`.
    """
    folder = split_folder(root, split, person_type)
    train, val = (read_rows(folder / f"{part}.csv", image_dir or root / "images") for part in PARTS)
    return train, val


def validate(root: Path, image_dir: Path | None = None) -> tuple[int, list[Problem]]:
    """The number of rows in all CSV files of a data set, and all problems in them.

    Raises:
        InvalidInput: there is no CSV file of the layout.
    """
    files = [
        file
        for base in SPLIT_FOLDERS.values()
        for part in PARTS
        for file in (root / base / f"{part}.csv", *sorted((root / base).glob(f"*/{part}.csv")))
        if file.is_file()
    ]
    if not files:
        raise InvalidInput(f"{root}: no pretrain/, finetune/<type>/ or user/<type>/ with train.csv and val.csv")
    num_rows, problems = 0, []
    trained: dict[Path, dict[str, int]] = {}
    for file in files:  # train.csv of a folder always comes before its val.csv
        rows, found = _parse(file, image_dir or root / "images")
        num_rows += len(rows) + len({problem.line for problem in found if problem.severity == "error"} - {1})
        problems += found
        if file.stem == "train":
            trained[file.parent] = {row.image: row.line for row in rows}
            if not (file.parent / "val.csv").is_file():
                problems.append(Problem(file.parent / "val.csv", 1, "the file is missing"))
        for row in rows if file.stem == "val" else ():
            if (line := trained.get(file.parent, {}).get(row.image)) is not None:
                message = f"{row.image} is in the training rows too (train.csv, line {line})"
                problems.append(Problem(file, row.line, message, "warning"))
    return num_rows, problems


def parse_preference(text: str) -> tuple[float, ...]:
    """Five finite numbers from the text of a JSON list, e.g. `[0.5, 0.25, 0, 1, 0.75]`.

    Raises:
        InvalidInput: any other text.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"preference_score_list {text[:60]!r} is not a list of numbers") from error
    if not isinstance(values, list) or len(values) != NUM_PREFERENCES:
        raise InvalidInput(f"preference_score_list {text[:60]!r} is not a list of {NUM_PREFERENCES} numbers")
    if not all(type(value) in (int, float) and math.isfinite(value) for value in values):
        raise InvalidInput(f"preference_score_list {text[:60]!r}: not {NUM_PREFERENCES} finite numbers")
    return tuple(float(value) for value in values)


def _parse(file: Path, image_dir: Path) -> tuple[list[_Row], list[Problem]]:
    """The correct rows of a file, and the problems of the others."""
    rows: list[_Row] = []
    if not file.is_file():
        return [], [Problem(file, 1, "the file is missing")]
    try:
        header, numbered = read_cells(file)
    except CsvFault as error:
        return [], [Problem(file, error.line, error.message)]
    columns, wrong = _columns(header)
    problems = [Problem(file, 1, message, severity) for message, severity in wrong]
    if any(severity == "error" for _, severity in wrong):
        return [], problems
    first_line: dict[str, int] = {}
    for line, cells in numbered:
        row, messages = _row(line, cells, len(header), columns, image_dir)
        if row is not None and (first := first_line.setdefault(row.image, line)) != line:
            messages.append(f"{row.image} is in line {first} too")
        problems += [Problem(file, line, message) for message in messages]
        if row is not None and not messages:
            rows.append(row)
    return rows, problems


def _columns(header: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Position of each known column, under its new name, and the problems of the header with their severity."""
    places: dict[str, int] = {}
    wrong: list[tuple[str, str]] = []
    new_names = {old: new for new, old in _SCORE_COLUMNS.items()}
    for position, name in enumerate(header):
        known = new_names.get(name, name)
        if known in places:
            wrong.append((f"column {name!r} is a second {known}", "error"))
        if known in ("pic_name", *_SCORE_COLUMNS, *_OTHER_COLUMNS):
            places[known] = position
        elif name:
            wrong.append((f"column {name!r} is unknown and not read", "warning"))
    for name in ("pic_name", *_SCORE_COLUMNS, "preference_score_list"):
        if name not in places:
            old = f" (or {_SCORE_COLUMNS[name]})" if name in _SCORE_COLUMNS else ""
            wrong.append((f"column {name}{old} is missing", "error"))
    return places, wrong


def _row(
    line: int, cells: list[str], width: int, columns: dict[str, int], image_dir: Path
) -> tuple[_Row | None, list[str]]:
    if len(cells) != width:
        return None, [f"{len(cells)} cells, the header has {width}"]
    cell = {name: cells[position] for name, position in columns.items()}
    messages: list[str] = []
    image = _name_on_disk(cell["pic_name"], image_dir)
    if fault := _image_fault(image, image_dir):
        messages.append(fault)
    scores = []
    for aspect in ASPECTS:
        scores.append(_number(cell[f"score_{aspect}"]))
        if not SCORE_MIN <= scores[-1] <= SCORE_MAX:
            messages.append(f"score_{aspect} {cell[f'score_{aspect}']!r} is not a number from 0 to 10")
    preference: tuple[float, ...] = ()
    try:
        preference = parse_preference(cell["preference_score_list"])
    except InvalidInput as error:
        messages.append(str(error))
    bmi_text = cell.get("bmi", "")
    bmi = _number(bmi_text)
    if bmi_text and not 0 < bmi < math.inf:
        messages.append(f"bmi {bmi_text!r} is not a number above 0 (it may be empty)")
    return _Row(line, image, tuple(scores), preference, bmi, cell.get("people_answer", "")), messages


def _name_on_disk(image: str, image_dir: Path) -> str:
    """The name of a file that a Mac may have stored in Unicode's form NFD; cells are read in form NFC."""
    decomposed = unicodedata.normalize("NFD", image)
    if image == decomposed or "\0" in image or (image_dir / image).is_file() or not (image_dir / decomposed).is_file():
        return image
    return decomposed


def _image_fault(image: str, image_dir: Path) -> str | None:
    path = PurePosixPath(image)
    if not image or "\0" in image or path.is_absolute() or ".." in path.parts or "\\" in image:
        return f"pic_name {image!r} is not a file name inside the image folder"
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return f"pic_name {image!r} does not end in one of {', '.join(IMAGE_SUFFIXES)}"
    if not (image_dir / image).is_file():
        return f"image {image_dir / image} does not exist"
    return None


def _number(text: str) -> float:
    """The number in a text; NaN if there is none."""
    try:
        return parse_number(text)
    except InvalidInput:
        return math.nan
