"""My order: my photos by my score beside everybody's; lists and files of them; my data."""

from __future__ import annotations

import csv
import zipfile
from io import StringIO
from pathlib import PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import Any, Final

from starlette.responses import Response

from paaplus.errors import Forbidden, InvalidInput
from paaplus.services.adapters import versions
from paaplus.services.feedback import feedback_log
from paaplus.services.images import images
from paaplus.services.images.filters import ImageFilter
from paaplus.services.operations import erasures, export
from paaplus.services.predictions import rankings, version_scores
from paaplus.services.predictions.rankings import RankedImage, Ranking, Wanted
from paaplus.services.users import users
from paaplus.services.users.rate_limits import RateLimitKind
from paaplus.studio import pages
from paaplus.studio.answers import person_of
from paaplus.studio.calls import Call, answer, go

MOST: Final = 1_000
NUM_CHANGES: Final = 8
EXPORT_MEMORY_BYTES: Final = 16 * 2**20
_SUFFIXES: Final = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would carry out


def page(call: Call) -> Response:
    """The page; its script asks for the ranking."""
    return call.page("order.html")


def ranking(call: Call) -> Response:
    """The ranking with sizes of the images, so that the page does not jump while they load."""
    found = _rank(call, MOST)
    with call.context.database.read_session() as session:
        rows = images.list_images(session, call.person, ImageFilter(), limit=call.context.settings.max_ranking_images)
    sizes = {row.id: (row.width_px, row.height_px, row.created_at.date().isoformat()) for row in rows}
    items = [
        {
            "id": str(item.image_id),
            "name": item.name or "",
            "score": round(item.score, 3),
            "generic": round(item.generic_score, 3),
            "rank": item.rank,
            "generic_rank": item.generic_rank,
            "stars": item.stars,
            "liked": item.liked,
            "width": sizes[item.image_id][0],
            "height": sizes[item.image_id][1],
            "date": sizes[item.image_id][2],
        }
        for item in found.items
        if item.image_id in sizes
    ]
    return answer(
        {
            "items": items,
            "version": found.adapter.number if found.adapter is not None else None,
            "num_pending": found.num_pending,
            "num_failed": found.num_failed,
            "is_complete": found.is_complete,
        }
    )


def changes(call: Call) -> Response:
    """What the newest version has changed: the photos that moved most, and the ratings that it was first to use."""
    user_id = person_of(call.person)
    with call.context.database.read_session() as session:
        user = users.resolve(session, call.person, str(user_id))
        active = versions.active(session, user_id)
        if active is None:
            return answer({"moved": [], "because": [], "version": None})
        number, last = active.number, active.high_water_sequence
        live = [row for row in versions.list_versions(session, user_id) if row.state.value == "retired"]
        before = next((row for row in live if row.number < number), None)
        before_number, first = (before.number, before.high_water_sequence) if before is not None else (None, 0)
        log = feedback_log.read(session, user, None)
        rows = images.list_images(session, call.person, ImageFilter(), limit=MOST)
    by_id = {row.id: row for row in rows}
    found = version_scores.compare(
        call.context.database, call.context.predictor.store, user_id, list(by_id), before_number, number
    )
    new = [rating for rating in log.latest_ratings() if first < rating.sequence <= last and rating.image_id in by_id]
    moved = [
        _shown(by_id[image_id]) | {"before": round(old, 2), "after": round(now, 2)}
        for image_id, old, now in found.most_changed(NUM_CHANGES)
        if old != now
    ]
    because = [
        _shown(by_id[rating.image_id]) | {"stars": round(1 + 0.4 * next(iter(rating.scores.values())))}
        for rating in sorted(new, key=lambda rating: -rating.sequence)[:NUM_CHANGES]
    ]
    return answer({"moved": moved, "because": because, "version": number, "before": before_number})


def _shown(row: Any) -> dict[str, Any]:
    return {"id": str(row.id), "name": row.name or "", "width": row.width_px, "height": row.height_px}


def as_csv(call: Call) -> Response:
    """The ranking as a table. Text that a spreadsheet would carry out as a formula is marked as text."""
    file = StringIO()
    writer = csv.writer(file)
    writer.writerow(
        ["rank", "name", "my_score", "everybodys_score", "everybodys_rank", "my_stars", "liked", "image_id"]
    )
    for item in _rank(call, MOST).items:
        writer.writerow(_row(item))
    headers = {**pages.PRIVATE, "Content-Disposition": 'attachment; filename="my-order.csv"'}
    return Response("\ufeff" + file.getvalue(), media_type="text/csv", headers=headers)


def as_zip(call: Call) -> Response:
    """The first photos of my order, named by their place."""
    try:
        top = int(call.request.query_params.get("top", "20"))
    except ValueError as error:
        raise InvalidInput("top is no number") from error
    if not 1 <= top <= 100:
        raise InvalidInput(f"top {top}: 1 to 100")
    with SpooledTemporaryFile(max_size=EXPORT_MEMORY_BYTES) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # images are compressed already
            for item in _rank(call, top).items:
                with call.context.database.read_session() as session:
                    row = images.get(session, call.person, item.image_id)
                stem = PurePosixPath(item.name or str(item.image_id)).stem
                archive.writestr(
                    f"{item.rank:04d} {stem}{_SUFFIXES[row.media_type]}", call.context.blobs.get(row.sha256)
                )
        file.seek(0)
        data = file.read()
    headers = {**pages.PRIVATE, "Content-Disposition": f'attachment; filename="my-top-{top}.zip"'}
    return Response(data, media_type="application/zip", headers=headers)


def my_data(call: Call) -> Response:
    """What is stored about the person, to take along or to erase."""
    with call.context.database.read_session() as session:
        user = users.resolve(session, call.person, str(person_of(call.person)))
        own = images.list_images(session, call.person, ImageFilter(owner_id=user.id), limit=MOST)
    return call.page(
        "data.html",
        name=user.external_id,
        may_erase=_may_erase(call),
        num_events=user.feedback_sequence,
        num_photos=len(own),
        is_full=len(own) == MOST,
    )


def export_data(call: Call) -> Response:
    """All data about the person as a zip file."""
    with SpooledTemporaryFile(max_size=EXPORT_MEMORY_BYTES) as file:
        export.write_zip(call.context.database, call.context.blobs, person_of(call.person), file)
        file.seek(0)
        data = file.read()
    headers = {**pages.PRIVATE, "Content-Disposition": 'attachment; filename="my-data.zip"'}
    return Response(data, media_type="application/zip", headers=headers)


def erase(call: Call) -> Response:
    """Erase the person, whose name was typed to confirm it. As in the API, a user's own key may not.

    Raises:
        Forbidden: the session is a user's.
    """
    if not _may_erase(call):
        raise Forbidden(call.t("data.ask_operator"))
    with call.context.database.read_session() as session:
        user = users.resolve(session, call.person, str(person_of(call.person)))
    if call.text("name", 256) != user.external_id:
        raise InvalidInput(call.t("data.wrong_name"))
    with call.context.database.session() as session:
        erasures.erase(
            session,
            call.context.blobs,
            user.id,
            actor=call.person.actor,
            erasures_url=call.context.settings.resolved_erasures_url,
        )
    call.context.database.scrub()
    call.context.keys.forget()
    return go("/")


def _may_erase(call: Call) -> bool:
    return call.principal.user_id is None


def _rank(call: Call, top: int) -> Ranking:
    wanted = Wanted(user_id=person_of(call.person), top=top)
    found = rankings.rank(call.context.database, call.context.predictor.store, call.context.settings, wanted)
    call.spend(RateLimitKind.PREDICTIONS, max(1, len(found.items)))  # what is ranked is known only now
    return found


def _row(item: RankedImage) -> list[str]:
    name = item.name or ""
    return [
        str(item.rank),
        f"'{name}" if name.startswith(_FORMULA) else name,
        f"{item.score:.3f}",
        f"{item.generic_score:.3f}",
        str(item.generic_rank),
        "" if item.stars is None else str(item.stars),
        "" if item.liked is None else str(item.liked).lower(),
        str(item.image_id),
    ]
