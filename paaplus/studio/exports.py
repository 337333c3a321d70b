"""My order as files: a table, the first photos, and sidecars that other programs read."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable
from io import StringIO
from pathlib import PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import Final

from starlette.responses import Response

from paaplus.csv_files import text_cell
from paaplus.errors import Damaged, InvalidInput, NotFound
from paaplus.numbers import parse_whole
from paaplus.photos import sidecars
from paaplus.photos.stars import star_thresholds
from paaplus.services.images import images
from paaplus.services.predictions.rankings import RankedImage
from paaplus.services.users import users
from paaplus.studio import pages
from paaplus.studio.answers import person_of
from paaplus.studio.calls import Call
from paaplus.studio.order import MOST, rank
from paaplus.texts import fitting_name

EXPORT_MEMORY_BYTES: Final = 16 * 2**20
_SUFFIXES: Final = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}


def as_csv(call: Call) -> Response:
    """The ranking as a table. Text that a spreadsheet would carry out as a formula is marked as text."""
    file = StringIO()
    writer = csv.writer(file)
    writer.writerow(
        ["rank", "name", "my_score", "everybodys_score", "everybodys_rank", "my_stars", "liked", "image_id"]
    )
    for item in rank(call, MOST).items:
        writer.writerow(_row(item))
    headers = {**pages.PRIVATE, "Content-Disposition": 'attachment; filename="my-order.csv"'}
    return Response("\ufeff" + file.getvalue(), media_type="text/csv", headers=headers)


def as_zip(call: Call) -> Response:
    """The first photos of my order, named by their place."""
    try:
        top = parse_whole(call.request.query_params.get("top", "20"))
    except InvalidInput as error:
        raise InvalidInput("top is no number") from error
    if not 1 <= top <= 100:
        raise InvalidInput(f"top {top}: 1 to 100")

    def write(archive: zipfile.ZipFile) -> None:
        for item in rank(call, top).items:
            with call.context.database.read_session() as session:
                row = images.get(session, call.person, item.image_id)
            stem = PurePosixPath(item.name or str(item.image_id)).stem
            place = f"{item.rank:04d} {stem}"
            try:
                data = call.context.blobs.get(row.sha256)
            except (Damaged, NotFound) as error:  # the others are wanted nevertheless
                archive.writestr(fitting_name(place, ".unreadable.txt"), f"{error}\n")
                continue
            archive.writestr(fitting_name(place, _SUFFIXES[row.media_type]), data)

    return zipped(f"my-top-{top}.zip", write)


def as_xmp(call: Call) -> Response:
    """A zip of XMP sidecars with scores and stars, to be unpacked beside the photos that were uploaded.

    Stars that the person gave are the person's own there, so that `paaplus rank` never replaces them.
    """
    items = rank(call, MOST).items
    with call.context.database.read_session() as session:
        name = users.resolve(session, call.person, str(person_of(call.person))).external_id
    rated = [item for item in items if item.stars is not None]
    given = [item.stars for item in rated if item.stars is not None]
    thresholds = star_thresholds([item.score for item in items], [item.score for item in rated], given)
    named = sidecars.names([item.name or f"{item.image_id}.jpg" for item in items])

    def write(archive: zipfile.ZipFile) -> None:
        for item, path in zip(items, named, strict=True):
            stars = thresholds.stars(item.score)
            archive.writestr(path, sidecars.text(stars, item.stars, item.score, item.generic_score, name))

    return zipped("my-order-xmp.zip", write, zipfile.ZIP_DEFLATED)


def zipped(name: str, write: Callable[[zipfile.ZipFile], None], compression: int = zipfile.ZIP_STORED) -> Response:
    """A zip file to download. Images are compressed already, so they are stored."""
    with SpooledTemporaryFile(max_size=EXPORT_MEMORY_BYTES) as file:
        with zipfile.ZipFile(file, "w", compression) as archive:
            write(archive)
        file.seek(0)
        data = file.read()
    headers = {**pages.PRIVATE, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type="application/zip", headers=headers)


def _row(item: RankedImage) -> list[str]:
    return [
        str(item.rank),
        text_cell(item.name or ""),
        f"{item.score:.3f}",
        f"{item.generic_score:.3f}",
        str(item.generic_rank),
        "" if item.stars is None else str(item.stars),
        "" if item.liked is None else str(item.liked).lower(),
        str(item.image_id),
    ]
