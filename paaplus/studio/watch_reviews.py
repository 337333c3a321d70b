"""Watch: review batches, how far each expert is, and how much the experts agree."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from starlette.responses import Response

from paaplus.errors import NotFound
from paaplus.services.reviews import batches, pace, progress
from paaplus.services.users import users
from paaplus.studio.calls import Call

PAGE: Final = 30


def listing(call: Call) -> Response:
    """Batches, newest first, with each expert's progress, corrections and pace, and the experts' agreement."""
    with call.context.database.read_session() as session:
        rows = batches.list_batches(session, call.principal, limit=PAGE)
        going = progress.progress(session, [row.id for row in rows])
        named = users.resolve_many(
            session, call.principal, {str(one.expert_id) for found in going.values() for one in found}
        )
        shown = [
            {
                "id": str(row.id),
                "name": row.name,
                "application": row.application,
                "created_at": row.created_at,
                "closed_at": row.closed_at,
                "tools": row.tools,
                "experts": [_expert(session, one, row.id, named) for one in going[row.id]],
                "agreement": progress.agreement(session, row.id),
            }
            for row in rows
        ]
    return call.page("watch_reviews.html", batches=shown)


def close(call: Call) -> Response:
    """Close a batch: its open reviews leave the experts' queues."""
    try:
        batch_id = UUID(call.request.path_params["batch"])
    except ValueError as error:
        raise NotFound("no such batch") from error
    with call.context.database.session() as session:
        batches.close(session, call.principal, batch_id)
    return call.go("/watch/reviews")


def _expert(session: Any, one: progress.Progress, batch_id: UUID, named: dict[str, Any]) -> dict[str, Any]:
    found = pace.of_expert(session, one.expert_id, batch_id)
    user = named.get(str(one.expert_id))
    total = one.open + one.done + one.skipped + one.cannot_say
    return {
        "id": str(one.expert_id),
        "name": user.external_id if user is not None else str(one.expert_id),
        "open": one.open,
        "done": one.done,
        "skipped": one.skipped,
        "cannot_say": one.cannot_say,
        "total": total,
        "accepted": found.share_accepted,
        "correction": found.mean_correction,
        "seconds_each": found.seconds_each,
    }
