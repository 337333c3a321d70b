"""The image files of a data folder: which files count."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path

from paaplus.csv_files import MAX_TOLD, plain_cell
from paaplus.errors import InvalidInput

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp")


def list_images(folder: Path, *, strict: bool = False) -> dict[str, str]:
    """The image files of a folder: name as tables are read, see `plain_cell` -> name on disk.

    A hidden file, an empty one, and what is no file is skipped with a warning, or refused if `strict`.

    Raises:
        InvalidInput: there is no such folder, no image in it, or two names differ only in their Unicode form, or in
            spaces around them.
    """
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder; a data folder holds images/ and ratings.csv")
    names: dict[str, str] = {}
    skipped: list[str] = []
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in IMAGE_SUFFIXES and not file.name.startswith("._"):
            continue
        if fault := _not_an_image(file):
            skipped.append(f"{file.name!r} ({fault})")
            continue
        name = plain_cell(file.name)
        if name in names:
            how = "in Unicode's form" if name == unicodedata.normalize("NFC", names[name]) else "in spaces around them"
            raise InvalidInput(f"{folder}: two files are called {name!r}: their names differ {how} only")
        names[name] = file.name
    report_skipped(folder, skipped, strict)
    if not names:
        raise InvalidInput(f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return names


def _not_an_image(file: Path) -> str | None:
    if file.name.startswith("."):
        return "a hidden file"
    if file.is_symlink() and not file.exists():
        return "a link to nothing"
    if not file.is_file():
        return "a folder" if file.is_dir() else "not a file"
    if file.stat().st_size == 0:
        return "an empty file"
    return None


def report_skipped(folder: Path, skipped: Sequence[str], strict: bool) -> None:
    """Warn of the files that are not used.

    Raises:
        InvalidInput: there are some, and `strict`.
    """
    if not skipped:
        return
    message = f"{folder}: {len(skipped)} file(s) skipped: {first_of(skipped)}"
    if strict:
        raise InvalidInput(message)
    warnings.warn(message, stacklevel=3)


def first_of(items: Sequence[str]) -> str:
    """The first items of a list, and how many more there are."""
    more = f"; and {len(items) - MAX_TOLD} more" if len(items) > MAX_TOLD else ""
    return "; ".join(items[:MAX_TOLD]) + more
