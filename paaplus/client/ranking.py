"""A user's order of images, beside everybody's: what `rank` gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from paaplus.client.answers import Prediction
from paaplus.system_folders import is_left_out

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"})


@dataclass(frozen=True, kw_only=True)
class Place:
    """The place of an image in a user's order.

    Attributes:
        number: 1 is the image that the user is expected to like most.
        generic_number: its place in everybody's order, by the generic score.
        file: where the image came from; None: it was named by its id.
        score, generic: 0 to 10; `prediction` has the rest.
    """

    number: int
    generic_number: int
    image_id: str
    file: Path | None
    score: float
    generic: float
    prediction: Prediction


def image_files(folder: Path, suffixes: Iterable[str] = SUFFIXES) -> list[Path]:
    """Image files below a folder, in order of their names. Hidden ones and folders of systems are left out.

    Raises:
        NotADirectoryError: it is no folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder")
    wanted = {suffix.lower() for suffix in suffixes}
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in wanted
        and path.is_file()
        and not path.name.startswith(".")
        and not any(is_left_out(part) for part in path.relative_to(folder).parts[:-1])
    )


def name_in(folder: Path, file: Path) -> str:
    """The name of a file in a folder: its path below it, with `/`."""
    return file.relative_to(folder).as_posix()


def places(
    predictions: Sequence[Prediction], files: dict[str, Path], aspect: str | None, top: int | None
) -> list[Place]:
    """Scored images in the user's order. Those without a score are left out. Equal scores keep their order.

    Args:
        predictions: one of each image.
        files: by image.
        aspect: by which they are ordered; None: the first one.
        top: the first so many; None: all.
    """
    scored = [item for item in predictions if item.scores and item.generic]
    if aspect is None and scored:
        aspect = next(iter(scored[0].scores or {}))
    by_generic = sorted(scored, key=lambda item: -(item.generic or {})[aspect or ""])
    generic_number = {item.image_id: number for number, item in enumerate(by_generic, 1)}
    by_score = sorted(scored, key=lambda item: -(item.scores or {})[aspect or ""])
    found = [
        Place(
            number=number,
            generic_number=generic_number[item.image_id],
            image_id=item.image_id,
            file=files.get(item.image_id),
            score=(item.scores or {})[aspect or ""],
            generic=(item.generic or {})[aspect or ""],
            prediction=item,
        )
        for number, item in enumerate(by_score, 1)
    ]
    return found[:top]
