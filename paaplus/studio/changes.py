"""What changed: the photos that moved most since another version was live, and the answers that did it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from starlette.responses import Response

from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput
from paaplus.services.adapters import versions
from paaplus.services.feedback import feedback_log
from paaplus.services.images import images
from paaplus.services.images.filters import ImageFilter
from paaplus.services.predictions import version_scores
from paaplus.services.users import users
from paaplus.studio.answers import person_of
from paaplus.studio.calls import Call, answer
from paaplus.studio.order import MOST

NUM_CHANGES: Final = 8
WEEK: Final = timedelta(days=7)
# Entries of the history after which another version may be live.
MOVES: Final = frozenset({"gate_promoted", "promoted", "rolled_back", "pinned", "matched", "gate_retired"})


def changes(call: Call) -> Response:
    """What is different from the version before, from a week ago, or from the beginning: `since`.

    The photos whose scores changed most, and the answers that the versions since then were the first to use.
    """
    since = call.request.query_params.get("since", "version")
    if since not in ("version", "week", "start"):
        raise InvalidInput(f"since {since!r:.40}: version, week or start")
    user_id = person_of(call.person)
    with call.context.database.read_session() as session:
        user = users.resolve(session, call.person, str(user_id))
        active = versions.active(session, user_id)
        if active is None:
            return answer({"moved": [], "because": [], "version": None})
        number, last = active.number, active.high_water_sequence
        before = _before(session, user_id, number, since)
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
    return answer(
        {
            "moved": moved,
            "because": because,
            "num_because": len(new),
            "version": number,
            "before": before_number,
        }
    )


def _before(session: Any, user_id: UUID, number: int, since: str) -> Any:
    """The version that was live before; None: the base model."""
    rows = versions.list_versions(session, user_id)
    if since == "version":
        return next((row for row in rows if row.state.value == "retired" and row.number < number), None)
    if since == "start":
        return None
    then = utcnow() - WEEK
    history = versions.history(session, user_id)
    move = next((row for row in history if row.created_at <= then and row.move.value in MOVES), None)
    live = move.details.get("to") if move is not None else None
    return (
        next((row for row in rows if row.number == live and row.number != number), None) if live is not None else None
    )


def _shown(row: Any) -> dict[str, Any]:
    return {"id": str(row.id), "name": row.name or "", "width": row.width_px, "height": row.height_px}
