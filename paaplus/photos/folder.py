"""The photographs in a folder: found by their suffix, in all folders below it."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from paaplus.data.image_folder import first_of
from paaplus.errors import InvalidInput, NotFound
from paaplus.image_kinds import PHOTO_SUFFIXES
from paaplus.system_folders import is_left_out
from paaplus.texts import printable


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """One file. `name` is its path relative to the folder, with `/`, as it is shown. Size and time tell of a change."""

    path: Path
    name: str
    size_bytes: int
    mtime_ns: int


def find_photographs(folder: Path, without: Collection[Path] = ()) -> list[PhotoFile]:
    """Every photograph below a folder, in order of their names. Hidden files and folders are left out.

    Args:
        folder: where to look.
        without: folders to leave out.

    Raises:
        NotFound: there is no such folder.
        InvalidInput: the folder has no photograph.

    Warns:
        UserWarning: folders below it cannot be read.
    """
    if not folder.is_dir():
        raise NotFound(f"{folder} is not a folder")
    found: list[PhotoFile] = []
    for path in files_below(folder, without):
        if path.suffix[1:].lower() not in PHOTO_SUFFIXES:
            continue
        try:
            status = path.stat()
        except OSError:  # a link to nothing, or deleted just now
            continue
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for a writer, perhaps for ever
            continue
        name = printable(path.relative_to(folder).as_posix())
        found.append(PhotoFile(path, name, status.st_size, status.st_mtime_ns))
    if not found:
        raise InvalidInput(f"{folder} has no photograph; known by their suffix are {', '.join(sorted(PHOTO_SUFFIXES))}")
    return found


def files_below(folder: Path, without: Collection[Path] = ()) -> Iterator[Path]:
    """Every file below a folder, in order of names, but for hidden files and folders, and those of systems.

    Args:
        folder: where to look.
        without: folders to leave out.

    Warns:
        UserWarning: folders that cannot be read, so that their files are missing.
    """
    left_out = {each.resolve() for each in without}
    unread: list[str] = []
    for place, folders, files in os.walk(folder, onerror=lambda error: unread.append(str(error.filename))):
        folders[:] = sorted(
            name for name in folders if not is_left_out(name) and (Path(place) / name).resolve() not in left_out
        )
        yield from (Path(place) / name for name in sorted(files) if not name.startswith("."))
    if unread:
        warnings.warn(f"{len(unread)} folder(s) cannot be read: {first_of(unread)}", stacklevel=2)
