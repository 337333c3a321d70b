"""Feedback events: post one or many, list them."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Body, Query, Response
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from paaplus import pauses
from paaplus.api import places
from paaplus.api.cursors import Cursor
from paaplus.api.dependencies import ApiContext, Context, Limit, ReadSession, UserKey
from paaplus.api.errors import words_of
from paaplus.api.routing import DirectRoute, router_of
from paaplus.api.schemas.common import OfUser, Page, WholeText
from paaplus.api.schemas.feedback import (
    EVENT,
    RATING_EXAMPLE,
    RECEIPT_EXAMPLE,
    CorrectionIn,
    EventIn,
    EventOut,
    FeedbackBatchIn,
    FeedbackBatchOut,
    FeedbackIn,
    FeedbackItemOut,
    FeedbackOut,
    ItemError,
)
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.errors import InvalidInput
from paaplus.services.feedback.intake import AppendResult
from paaplus.services.feedback.listing import EventFilter, Order, list_events
from paaplus.services.feedback.writer import LARGE, Posted
from paaplus.services.predictions import receipts
from paaplus.services.users import users as users_service
from paaplus.services.users.first_use import create_missing
from paaplus.services.users.keys import Principal
from paaplus.services.users.rate_limits import RateLimitKind
from paaplus.texts import is_id

router = router_of("/v1/feedback", "feedback", DirectRoute)

EXAMPLES: dict[str, Any] = {
    "one rating": {"value": RATING_EXAMPLE},
    "a correction": {
        "value": {k: v for k, v in RATING_EXAMPLE.items() if k != "image"}
        | {"event_id": "ada-0002", "kind": "correction", "receipt": RECEIPT_EXAMPLE}
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
    response_model=FeedbackOut | FeedbackBatchOut,
    responses={
        200: {
            "model": FeedbackOut | FeedbackBatchOut,
            "description": "The event exists already, or the request had many events.",
        }
    },
)
async def post_feedback(
    body: Annotated[FeedbackIn, Body(openapi_examples=EXAMPLES)],
    key: UserKey,
    context: Context,
) -> Response:
    """Append events to the feedback log.

    One event is answered with 201 if it is new, 200 if it exists. Many events are answered with 200 and a status for
    each.

    A key that creates users creates those that the events name for the first time.

    After a 2xx answer the event is stored; a later training uses it. Posting the same event again changes nothing. A
    different event with the same `event_id` is a conflict.
    """
    if isinstance(body, FeedbackBatchIn):
        return await context.threads.run(_post_many, context, key, body)
    if not context.allowances.spend_reserved(key, RateLimitKind.FEEDBACK):
        await run_in_threadpool(context.allowances.spend, key, RateLimitKind.FEEDBACK)
    if key.creates_users:
        await run_in_threadpool(create_missing, context.database, key, [body.user])
    if isinstance(body, CorrectionIn):
        await run_in_threadpool(_keep_receipts, context, key, [body])
    submitted = context.feedback.submit(key, [_posted(0, body)])
    async with places.waiting(is_served=True):  # the writer works for all who wait
        [result] = await asyncio.wrap_future(submitted)
    if result.error is not None:
        raise result.error
    _count(context, [result])
    assert result.status != "rejected", "a rejected event has an error"
    trains = FeedbackKind(body.kind).trains
    told = FeedbackOut(event_id=result.event_id, status=result.status, sequence=result.sequence, trains=trains)
    status_code = 201 if result.status == "accepted" else 200
    return Response(told.model_dump_json(), status_code, media_type="application/json")


@router.get("")
def list_feedback(
    key: UserKey,
    session: ReadSession,
    cursor: Cursor,
    user: Annotated[
        OfUser | None,
        Query(description="Only events of this user; default: of all users that the key may see."),
    ] = None,
    image: Annotated[UUID | None, Query(description="Only events about this image.")] = None,
    kind: Annotated[FeedbackKind | None, Query(description="Only events of this kind.")] = None,
    after_sequence: Annotated[
        WholeText | None,
        Query(ge=0, le=2**31 - 1, description="Only events after this number of the user's log; needs `user`."),
    ] = None,
    order: Annotated[
        Order, Query(description="newest: the last event first. Events of one user are in order of `sequence`.")
    ] = "newest",
    limit: Limit = 50,
) -> Page[EventOut]:
    """Events of the feedback log, with names and own ids of users and images.

    To follow a user's log, ask for `order=oldest` and the last `sequence` seen in `after_sequence`.
    """
    user_id = key.user_id if user is None else users_service.resolve(session, key, user).id
    if after_sequence is not None and user_id is None:
        raise InvalidInput("after_sequence is a number of one user's log: name the user")
    wanted = EventFilter(user_id=user_id, image_id=image, kind=kind, after_sequence=after_sequence)
    events = list_events(session, key, wanted, order=order, limit=limit, cursor=cursor.after)
    return Page(items=[EventOut.of(event) for event in events], next_cursor=cursor.next(events, limit))


def _post_many(context: ApiContext, key: Principal, body: FeedbackBatchIn) -> Response:
    """Append many events. The answer is written here, in a thread, and without a model for each event."""
    limit = context.settings.max_feedback_events
    if len(body.events) > limit:
        raise InvalidInput(f"{len(body.events)} events in one call; at most {limit} are accepted")
    posted: list[Posted] = []
    corrections: list[CorrectionIn] = []
    items = [""] * len(body.events)
    kinds: dict[int, str] = {}
    statuses: Counter[str] = Counter()
    for index, raw in enumerate(body.events):
        if index % LARGE == LARGE - 1:
            pauses.pause()
        try:
            event = EVENT.validate_python(raw)
        except ValidationError as error:
            items[index] = _unreadable(index, raw, error)
            statuses["rejected"] += 1
            continue
        posted.append(_posted(index, event))
        kinds[index] = event.kind
        if isinstance(event, CorrectionIn):
            corrections.append(event)
    if posted:
        context.allowances.spend(key, RateLimitKind.FEEDBACK, len(posted))
        create_missing(context.database, key, [each.user for each in posted])
        _keep_receipts(context, key, corrections)
        results = context.feedback.submit(key, posted).result()
        _count(context, results)
        for result in results:
            items[result.index] = _item(result, kinds[result.index])
        statuses.update(result.status for result in results)
    text = (
        f'{{"accepted":{statuses["accepted"]},"duplicates":{statuses["duplicate"]},"rejected":{statuses["rejected"]},'
        f'"items":[{",".join(items)}]}}'
    )
    return Response(text, media_type="application/json")


def _keep_receipts(context: ApiContext, key: Principal, corrections: list[CorrectionIn]) -> None:
    """Write the rows of the signed receipts that these corrections name."""
    named = [(event.user, event.receipt) for event in corrections if isinstance(event.receipt, str)]
    if not named:
        return
    with context.database.read_session() as session:
        users = users_service.resolve_ids(session, key, {user for user, _ in named})
    known = [(users[user], receipt) for user, receipt in named if user in users]
    receipts.keep(context.database, context.predictor.signer, known, context.settings.keep_receipts_days)


def _posted(index: int, event: EventIn) -> Posted:
    return Posted(index, event.event_id, event.user, partial(event.to_event, index))


def _count(context: ApiContext, results: list[AppendResult]) -> None:
    context.metrics.feedback_accepted.inc(sum(result.status == "accepted" for result in results))


def _unreadable(index: int, raw: Any, error: ValidationError) -> str:
    """The `FeedbackItemOut` of an event that does not fit its schema."""
    event_id = raw.get("event_id") if isinstance(raw, dict) else None
    first = error.errors(include_url=False)[0]
    where, words = ".".join(str(part) for part in first["loc"]), words_of(first)
    return FeedbackItemOut(
        index=index,
        event_id=event_id if is_id(event_id) else None,
        status="rejected",
        error=ItemError(code=InvalidInput.code, message=f"{where}: {words}" if where else words),
    ).model_dump_json()


def _item(result: AppendResult, kind: str) -> str:
    """The `FeedbackItemOut` of an event. Its texts have the fields in the model's order; a test compares them."""
    error = "null"
    if result.error is not None:
        error = ItemError(code=result.error.code, message=str(result.error)).model_dump_json()
    sequence = "null" if result.sequence is None else result.sequence
    return (
        f'{{"index":{result.index},"event_id":{to_json(result.event_id).decode()},"status":"{result.status}",'
        f'"sequence":{sequence},"trains":{_TRAINS[kind]},"error":{error}}}'
    )


_TRAINS: Final = {kind.value: "true" if kind.trains else "false" for kind in FeedbackKind}
