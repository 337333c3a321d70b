"""What changed: the photos that moved most since another version was live, and the answers that did it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import numpy as np
from starlette.responses import Response

from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput
from paaplus.services.adaptation import influences
from paaplus.services.adaptation.influences import Influences
from paaplus.services.adapters import versions
from paaplus.services.feedback.feedback_log import LatestRating
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

    The photos whose scores changed most, and the ratings since then that moved them most: by how much each score would
    differ if the rating were left out. A rating that is held out trained nothing and is never among them.
    """
    since = call.request.query_params.get("since", "version")
    if since not in ("version", "week", "start"):
        raise InvalidInput(f"since {since!r:.40}: version, week or start")
    user_id = person_of(call.person)
    with call.context.database.read_session() as session:
        users.resolve(session, call.person, str(user_id))  # not erased meanwhile
        active = versions.active(session, user_id)
        if active is None:
            return answer({"moved": [], "because": [], "version": None})
        number, last, strategy = active.number, active.high_water_sequence, active.strategy
        before = _before(session, user_id, number, since)
        before_number, first = (before.number, before.high_water_sequence) if before is not None else (None, 0)
        rows = images.list_images(session, call.person, ImageFilter(), limit=MOST)
    by_id = {row.id: row for row in rows}
    found = version_scores.compare(
        call.context.database, call.context.predictor.store, user_id, list(by_id), before_number, number
    )
    most = [(image_id, old, now) for image_id, old, now in found.most_changed(NUM_CHANGES) if old != now]
    why = influences.of_ratings(
        call.context.database,
        call.context.blobs,
        call.context.predictor.store,
        call.context.settings,
        user_id,
        [image_id for image_id, *_ in most],
        first=first,
        last=last,
    )
    raised = dict(zip(why.image_ids, why.points_BN, strict=True))
    moved = [
        _shown(by_id[image_id])
        | {"before": round(old, 2), "after": round(now, 2), "by": _by(why, raised.get(image_id), now - old, by_id)}
        for image_id, old, now in most
    ]
    return answer(
        {
            "moved": moved,
            "because": _because(why, by_id) if most else [],
            "num_because": len(why.ratings),
            "is_exact": why.is_exact and strategy == "bayes",
            "version": number,
            "before": before_number,
        }
    )


def _by(
    why: Influences, points_N: np.ndarray | None, change: float, by_id: Mapping[UUID, Any]
) -> dict[str, Any] | None:
    """The rating that moved a score most in the direction in which it went; None: no new rating did."""
    if points_N is None or not len(points_N):
        return None
    place = int(np.argmax(points_N * np.sign(change)))
    if points_N[place] * change <= 0 or why.ratings[place].image_id not in by_id:
        return None
    return _rated(why.ratings[place], by_id) | {"points": round(float(points_N[place]), 2)}


def _because(why: Influences, by_id: Mapping[UUID, Any]) -> list[dict[str, Any]]:
    """The ratings that moved these scores most, by the mean of the points, up or down."""
    mean_N = np.abs(why.points_BN).mean(0) if len(why.points_BN) else np.zeros(len(why.ratings))
    return [
        _rated(why.ratings[place], by_id) | {"points": round(float(mean_N[place]), 2)}
        for place in np.argsort(-mean_N, kind="stable").tolist()
        if why.ratings[place].image_id in by_id
    ][:NUM_CHANGES]


def _rated(rating: LatestRating, by_id: Mapping[UUID, Any]) -> dict[str, Any]:
    return _shown(by_id[rating.image_id]) | {"stars": round(1 + 0.4 * next(iter(rating.scores.values())))}


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
