"""Watch: the list of people, which is loaded page by page and searched by a part of a name."""

from __future__ import annotations

import math
from typing import Any, Final
from uuid import UUID

from starlette.responses import Response

from paaplus.errors import InvalidInput
from paaplus.services.operations import status
from paaplus.services.users import users
from paaplus.studio.calls import Call, answer

PAGE: Final = 60
NAME_MAX: Final = 128  # characters of an external id


def page(call: Call) -> Response:
    """People with their versions and quality, newest first; the page loads more when its end is near."""
    items, following = _people(call, None)
    with call.context.database.read_session() as session:
        now = status.read(session, call.context.settings)
    return call.page("watch.html", people=items, following=following, now=now, name=_searched(call))


def more(call: Call) -> Response:
    """The people after `after`, or the first ones, for the script of the page."""
    after = call.request.query_params.get("after")
    items, following = _people(call, _uuid(after) if after else None)
    return answer({"items": items, "following": following})


def _people(call: Call, before: UUID | None) -> tuple[list[dict[str, Any]], str | None]:
    search = _searched(call) or None
    with call.context.database.read_session() as session:
        rows = users.list_users(session, call.principal, search=search, limit=PAGE, before=before)
        active = users.active_adapters(session, [row.id for row in rows])
        items: list[dict[str, Any]] = [
            {
                "id": str(row.id),
                "name": row.external_id,
                "application": row.application,
                "events": row.feedback_sequence,
                "pending": row.pending_count,
                "version": active[row.id].number if row.id in active else None,
                "error": error_of(active[row.id].metrics) if row.id in active else None,
                "pinned": row.pinned,
                "due": row.due_reason or "",
            }
            for row in rows
        ]
    return items, items[-1]["id"] if len(items) == PAGE else None


def _searched(call: Call) -> str:
    """A part of the name of the people that are asked for."""
    name = call.request.query_params.get("name", "").strip()
    if "\0" in name or len(name) > NAME_MAX:  # no name has it
        raise InvalidInput(f"name: at most {NAME_MAX} characters, none of them the null character")
    return name


def error_of(metrics: dict[str, Any]) -> tuple[float, float] | None:
    """Root mean squared errors of ratings that the training left out: the version's and the generic scores'."""
    mine, generic = metrics.get("loo_mse"), metrics.get("generic_mse")
    if not isinstance(mine, int | float) or not isinstance(generic, int | float):
        return None
    return math.sqrt(max(0.0, mine)), math.sqrt(max(0.0, generic))


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise InvalidInput("after: an id") from error
