"""A folder in one person's order: scores, stars, and the best of each burst."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from paaplus.csv_files import text_cell
from paaplus.errors import InvalidInput
from paaplus.photos import xmp
from paaplus.photos.bursts import Seen, best_of_bursts, find_bursts
from paaplus.photos.importing import Imported
from paaplus.photos.platform import LocalPlatform
from paaplus.photos.stars import StarThresholds, star_thresholds
from paaplus.services.predictions import rankings
from paaplus.services.predictions.rankings import RankedImage
from paaplus.texts import fitting_name
from paaplus.whole_files import write_atomically

_RANK_DIGITS: Final = 3  # at least, of the names of copies


@dataclass(frozen=True, slots=True)
class RankedPhoto:
    """One file of the folder. `rank` and `generic_rank` count files from 1; everybody's order is the generic one.

    `rated` is the person's own stars. `burst` is the number of its burst; None: it is in none.
    """

    path: Path
    name: str
    image_id: UUID
    rank: int
    generic_rank: int
    score: float
    generic_score: float
    stars: int
    rated: int | None
    taken_at: datetime | None
    burst: int | None
    is_best_of_burst: bool


@dataclass(frozen=True, slots=True)
class FolderRanking:
    """The ranked files, best first, and those without a score, each with the reason.

    `source`: `adapter` if the order is personal, `base` if it is everybody's.
    """

    photos: list[RankedPhoto]
    refused: list[tuple[str, str]]
    source: str
    version: int | None
    thresholds: StarThresholds


def rank_folder(platform: LocalPlatform, imported: Imported) -> FolderRanking:
    """Rank the imported files for the platform's user.

    Raises:
        InvalidInput: no file has a score.
        Unavailable: the base model or the user's version is damaged.
    """
    settings = platform.settings.model_copy(update={"max_ranking_images": max(1, len(imported.image_ids))})
    wanted = rankings.Wanted(platform.user_id, images=[str(image_id) for image_id in imported.image_ids], top=None)
    ranking = rankings.rank(platform.database, platform.serving, settings, wanted)
    of_image = {item.image_id: item for item in ranking.items}
    files = [(file, known, of_image[known.image_id]) for file, known in imported.known if known.image_id in of_image]
    if not files:
        raise InvalidInput("no photograph of this folder has a score")
    # Of copies, the one with the shortest name comes first: `a.jpg`, then `a copy.jpg`.
    files.sort(key=lambda each: (each[2].rank, len(each[0].path.name), each[0].name))
    by_generic = sorted(files, key=lambda each: each[2].generic_rank)
    generic_rank = {file.name: place for place, (file, *_) in enumerate(by_generic, 1)}
    seen = [Seen(known.taken_at, known.look, item.score) for _, known, item in files]
    bursts = find_bursts(seen)
    thresholds = _thresholds(ranking.items)
    photos = [
        RankedPhoto(
            path=file.path,
            name=file.name,
            image_id=item.image_id,
            rank=place,
            generic_rank=generic_rank[file.name],
            score=item.score,
            generic_score=item.generic_score,
            stars=thresholds.stars(item.score),
            rated=item.stars,
            taken_at=known.taken_at,
            burst=burst,
            is_best_of_burst=is_best,
        )
        for place, ((file, known, item), burst, is_best) in enumerate(
            zip(files, bursts, best_of_bursts(seen, bursts), strict=True), 1
        )
    ]
    refused = [(file.name, reason) for file, reason in imported.refused]
    refused += [(file.name, "no features") for file, known in imported.known if known.image_id not in of_image]
    version = ranking.adapter.number if ranking.adapter is not None else None
    return FolderRanking(photos, refused, ranking.source, version, thresholds)


def _thresholds(items: Sequence[RankedImage]) -> StarThresholds:
    rated = [(item.score, item.stars) for item in items if item.stars is not None]
    return star_thresholds([item.score for item in items], [score for score, _ in rated], [stars for _, stars in rated])


FIELDS: dict[str, Callable[[RankedPhoto], Any]] = {
    "rank": lambda photo: photo.rank,
    "image": lambda photo: photo.name,
    "score": lambda photo: round(photo.score, 4),
    "stars": lambda photo: photo.stars,
    "rated": lambda photo: photo.rated,
    "generic_rank": lambda photo: photo.generic_rank,
    "generic_score": lambda photo: round(photo.generic_score, 4),
    "taken_at": lambda photo: photo.taken_at,
    "burst": lambda photo: photo.burst,
    "best_of_burst": lambda photo: photo.is_best_of_burst,
}


def write_csv(ranking: FolderRanking, file: Path) -> None:
    """Write all ranked files as a CSV, best first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    writer.writerows([[_cell(read(photo)) for read in FIELDS.values()] for photo in ranking.photos])
    write_atomically(file, text.getvalue().encode())


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, str):
        return text_cell(value)
    return "" if value is None else value.isoformat() if isinstance(value, datetime) else str(value)


def require_empty(folder: Path) -> None:
    """Check the folder of copies, before the work whose result goes there.

    Raises:
        InvalidInput: the folder has files already, which a new order would mix with.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InvalidInput(f"{folder} is not empty; copies of another order would mix with what is there")


def copy_best(ranking: FolderRanking, top: int, folder: Path) -> int:
    """Copy the best files into a folder, with the rank before their names; returns how many. Nothing is overwritten.

    Raises:
        InvalidInput: the folder has files already, which a new order would mix with.
    """
    require_empty(folder)
    folder.mkdir(parents=True, exist_ok=True)
    chosen = ranking.photos[:top]
    digits = max(_RANK_DIGITS, len(str(len(chosen))))
    for photo in chosen:
        shutil.copy2(photo.path, folder / fitting_name(f"{photo.rank:0{digits}d}_{photo.path.stem}", photo.path.suffix))
    return len(chosen)


@dataclass(frozen=True, slots=True)
class XmpReport:
    """What writing XMP did: how many were written, and why the others were not."""

    num_written: int
    refused: list[tuple[str, str]]


def write_xmp(
    ranking: FolderRanking, user: str, *, in_place: bool, on_progress: Callable[[int, int], None]
) -> XmpReport:
    """Write stars and scores, into sidecars or in place. A file that cannot be written does not stop the others.

    Raises:
        Unavailable: the package that writes XMP is not installed.
    """
    refused: list[tuple[str, str]] = []
    for number, photo in enumerate(ranking.photos, 1):
        written = xmp.WrittenScore(photo.stars, photo.score, photo.generic_score, user)
        try:
            if in_place:
                xmp.write_in_place(photo.path, written)
            else:
                xmp.write_sidecar(photo.path, written)
        except (InvalidInput, OSError) as error:
            refused.append((photo.name, str(error)))
        on_progress(number, len(ranking.photos))
    return XmpReport(len(ranking.photos) - len(refused), refused)
