"""My order: my photos by my score beside everybody's, and the best of each burst."""

from __future__ import annotations

import re
from collections import OrderedDict
from io import BytesIO
from threading import Lock
from typing import Any, Final

from PIL import Image
from starlette.responses import Response

from paaplus.errors import NotFound, Unavailable
from paaplus.photos import bursts as burst_finding
from paaplus.services.images import images, thumbnails
from paaplus.services.images.filters import ImageFilter
from paaplus.services.predictions import rankings
from paaplus.services.predictions.rankings import Ranking, Wanted
from paaplus.services.users.rate_limits import RateLimitKind
from paaplus.studio.answers import person_of
from paaplus.studio.calls import Call, answer

MOST: Final = 1_000
LOOKS_KEPT: Final = 20_000  # in memory, of this process
_SMALLEST: Final = 128  # thumbnails that looks are made from

_looks: OrderedDict[str, str] = OrderedDict()
_looks_lock: Final = Lock()


def page(call: Call) -> Response:
    """The page; its script asks for the ranking."""
    return call.page("order.html")


def ranking(call: Call) -> Response:
    """The ranking with sizes of the images, so that the page does not jump while they load."""
    found = rank(call, MOST)
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


def bursts(call: Call) -> Response:
    """The number of each photo's burst, and whether it is the best of it. Photos in no burst are left out.

    A browser does not say when a photo was taken, so neighbours by name count that look alike, and copies.
    """
    found = rank(call, MOST)
    with call.context.database.read_session() as session:
        rows = images.list_images(session, call.person, ImageFilter(), limit=call.context.settings.max_ranking_images)
    by_id = {row.id: row for row in rows}
    items = [item for item in found.items if item.image_id in by_id]
    items.sort(key=lambda item: (_natural(item.name or ""), item.image_id))
    seen = [burst_finding.Seen(None, _look(call, by_id[item.image_id]), item.score) for item in items]
    numbers = burst_finding.find_neighbours(seen)
    best = burst_finding.best_of_bursts(seen, numbers)
    return answer(
        {
            str(item.image_id): {"burst": number, "best": is_best}
            for item, number, is_best in zip(items, numbers, best, strict=True)
            if number is not None
        }
    )


def _look(call: Call, row: Any) -> str:
    """What an image looks like, see `paaplus.photos.bursts`. Empty: its file cannot be read now."""
    with _looks_lock:
        if row.sha256 in _looks:
            _looks.move_to_end(row.sha256)
            return _looks[row.sha256]
    try:
        found = thumbnails.get(call.context.database, call.context.blobs, call.context.settings, row, _SMALLEST)
    except (NotFound, Unavailable):
        return ""
    with Image.open(BytesIO(found.data)) as image:
        look = burst_finding.look_of(image)
    with _looks_lock:
        _looks[row.sha256] = look
        while len(_looks) > LOOKS_KEPT:
            _looks.popitem(last=False)
    return look


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which `img9` comes before `img10`."""
    return [(int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def rank(call: Call, top: int) -> Ranking:
    """The first images of the person's order, which the key pays for."""
    wanted = Wanted(user_id=person_of(call.person), top=top)
    found = rankings.rank(call.context.database, call.context.predictor.store, call.context.settings, wanted)
    call.spend(RateLimitKind.PREDICTIONS, max(1, len(found.items)))  # what is ranked is known only now
    return found
