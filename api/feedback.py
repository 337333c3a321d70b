"""Feedback events, one or many per request."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session

from paaplus import faults
from paaplus.api.dependencies import ApiContext, Context, UserKey
from paaplus.api.routing import Route
from paaplus.api.schemas.feedback import (
    EVENT,
    RATING_EXAMPLE,
    EventIn,
    FeedbackBatchIn,
    FeedbackBatchOut,
    FeedbackIn,
    FeedbackItemOut,
    FeedbackOut,
    ItemError,
)
from paaplus.errors import InvalidInput, NotFound
from paaplus.services.feedback import intake as feedback_service
from paaplus.services.feedback.intake import AppendResult
from paaplus.services.users import users as users_service
from paaplus.services.users.keys import Principal
from paaplus.services.users.rate_limits import RateLimitKind
from paaplus.texts import is_id

router = APIRouter(prefix="/v1/feedback", tags=["feedback"], route_class=Route)

EXAMPLES: dict[str, Any] = {
    "one rating": {"value": RATING_EXAMPLE},
    "a correction": {
        "value": {k: v for k, v in RATING_EXAMPLE.items() if k != "image"}
        | {"event_id": "ada-0002", "kind": "correction", "receipt": "0199f7c4-8f3e-7c55-b7a0-3f3a5d7f0002"}
    },
    "many events": {
        "value": {
            "events": [
                RATING_EXAMPLE,
                {"event_id": "ada-0003", "user": "ada", "kind": "retraction", "retracts": "ada-0001"},
            ]
        }
    },
}


@router.post(
    "",
    status_code=201,
    responses={
        200: {
            "model": FeedbackOut | FeedbackBatchOut,
            "description": "The event exists already, or the request had many events.",
        }
    },
)
def post_feedback(
    body: Annotated[FeedbackIn, Body(openapi_examples=EXAMPLES)],
    key: UserKey,
    context: Context,
    response: Response,
) -> FeedbackOut | FeedbackBatchOut:
    """Append events to the feedback log.

    One event is answered with 201 if it is new, 200 if it exists. Many events are answered with 200 and a status for
    each.

    After a 2xx answer the event is stored; a later training uses it. Posting the same event again changes nothing. A
    different event with the same `event_id` is a conflict.
    """
    if isinstance(body, FeedbackBatchIn):
        response.status_code = 200
        return _post_many(context, key, body)
    result = _append(context, key, {0: body})[0]
    if result.error is not None:
        raise result.error
    response.status_code = 201 if result.status == "accepted" else 200
    return FeedbackOut(event_id=result.event_id, status=result.status, sequence=result.sequence)


def _post_many(context: ApiContext, key: Principal, body: FeedbackBatchIn) -> FeedbackBatchOut:
    limit = context.settings.max_feedback_events
    if len(body.events) > limit:
        raise InvalidInput(f"{len(body.events)} events in one call; at most {limit} are accepted")
    events: dict[int, EventIn] = {}
    items: dict[int, FeedbackItemOut] = {}
    for index, raw in enumerate(body.events):
        try:
            events[index] = EVENT.validate_python(raw)
        except ValidationError as error:
            items[index] = _unreadable(index, raw, error)
    for result in _append(context, key, events):
        items[result.index] = _item(result)
    statuses = [item.status for item in items.values()]
    return FeedbackBatchOut(
        accepted=statuses.count("accepted"),
        duplicates=statuses.count("duplicate"),
        rejected=statuses.count("rejected"),
        items=[items[index] for index in sorted(items)],
    )


def _append(context: ApiContext, key: Principal, events: dict[int, EventIn]) -> list[AppendResult]:
    """Append the events in one transaction; the metrics count them after the commit."""
    context.allowances.spend(key, RateLimitKind.FEEDBACK, len(events))
    with context.database.session() as session:
        results = _append_in(session, context, key, events)
        session.flush()
        faults.point("feedback_uncommitted")
    faults.point("feedback_committed")
    context.metrics.feedback_accepted.inc(sum(result.status == "accepted" for result in results))
    return results


def _append_in(session: Session, context: ApiContext, key: Principal, events: dict[int, EventIn]) -> list[AppendResult]:
    users = users_service.resolve_many(session, key, {event.user for event in events.values()})
    unknown = [
        AppendResult(index, event.event_id, "rejected", error=NotFound(f"user {event.user!r} does not exist"))
        for index, event in events.items()
        if event.user not in users
    ]
    known = [event.to_event(index, users[event.user].id) for index, event in events.items() if event.user in users]
    return unknown + feedback_service.append(
        session,
        key.application,
        known,
        source=key.actor,
        settings=context.settings,
        max_per_day=context.settings.feedback_per_user_per_day,
    )


def _unreadable(index: int, raw: Any, error: ValidationError) -> FeedbackItemOut:
    event_id = raw.get("event_id") if isinstance(raw, dict) else None
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return FeedbackItemOut(
        index=index,
        event_id=event_id if is_id(event_id) else None,
        status="rejected",
        error=ItemError(code=InvalidInput.code, message=f"{where}: {first['msg']}" if where else first["msg"]),
    )


def _item(result: AppendResult) -> FeedbackItemOut:
    error = None
    if result.error is not None:
        error = ItemError(code=result.error.code, message=str(result.error))
    return FeedbackItemOut(
        index=result.index, event_id=result.event_id, status=result.status, sequence=result.sequence, error=error
    )
