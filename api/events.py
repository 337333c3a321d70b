"""Server-sent events of one user: what happens, as it happens."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Final
from uuid import UUID

from fastapi import Header
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from paaplus.api.dependencies import ApiContext, Context, UserKey, UserPath
from paaplus.api.routing import router_of
from paaplus.errors import InvalidInput
from paaplus.services import events
from paaplus.services.users import users
from paaplus.services.webhooks import deliveries

EVENT_STREAM: Final = "text/event-stream"
PING_S: Final = 15.0  # proxies close connections on which nothing is sent
AT_ONCE: Final = 100  # events of one reading

router = router_of("/v1/users/{user}", "users")


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}, "description": "A stream."}},
)
async def stream_events(
    user: UserPath,
    key: UserKey,
    context: Context,
    last_event_id: Annotated[
        str | None, Header(max_length=64, description="The last event that was seen: the stream goes on after it.")
    ] = None,
) -> StreamingResponse:
    """The user's events as server-sent events: trainings, promoted and refused versions, rollbacks, failures, drift.

    Without `Last-Event-ID` the stream begins now. It ends after some minutes; browsers, and `paaplus.client`, then go
    on with a new one. A key may have a bounded number of streams.
    """
    seen = _event_id(last_event_id)

    def find() -> tuple[UUID, UUID]:
        with context.database.read_session() as session:
            user_id = users.resolve(session, key, user).id
            return user_id, events.last_id(session, user_id) if seen is None else seen

    user_id, start = await run_in_threadpool(find)
    context.streams.open(key.actor)
    return _Stream(_events(context, key.actor, user_id, start), context, key.actor)


class _Stream(StreamingResponse):
    """A stream that gives its place back however it ends, also before its first byte."""

    def __init__(self, content: AsyncIterator[str], context: ApiContext, actor: str) -> None:
        super().__init__(content, media_type=EVENT_STREAM, headers={"X-Accel-Buffering": "no"})
        self._context, self._actor = context, actor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._context.streams.close(self._actor)


async def _events(context: ApiContext, actor: str, user_id: UUID, seen: UUID) -> AsyncIterator[str]:
    ends_at = time.monotonic() + context.settings.stream_s

    def read(after: UUID) -> list[tuple[UUID, str]]:
        with context.database.read_session() as session:
            rows = events.after(session, user_id, after, AT_ONCE)
            return [(row.id, _written(deliveries.content(session, row))) for row in rows]

    yield ": begun\n\n"
    while (left_s := ends_at - time.monotonic()) > 0:
        await context.news.wait(actor, [(user_id, seen)], min(PING_S, left_s))
        found = await run_in_threadpool(read, seen)
        for event_id, text in found:
            yield text
            seen = event_id
        if not found:
            yield ": nothing new\n\n"


def _written(event: dict[str, object]) -> str:
    return f"id: {event['id']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n"


def _event_id(text: str | None) -> UUID | None:
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInput(f"Last-Event-ID {text!r} is no id of an event") from None
