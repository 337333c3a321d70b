"""What a person's judge has learned, and what waits: asked for, or pushed to the page as it changes.

A stream waits for events of the user without a thread. While a training is due or runs it also looks by itself, as the
start of a job, and a worker that is away, are no events.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from paaplus.errors import NotFound, TooMany, Unauthenticated
from paaplus.services import events, scheduling
from paaplus.services.adapters import versions
from paaplus.services.operations import jobs, status
from paaplus.services.users import sessions, users
from paaplus.services.users.keys import Principal
from paaplus.studio import pages
from paaplus.studio.answers import person_of
from paaplus.studio.calls import Call
from paaplus.studio.context import StudioContext

AWAY_S: Final = 8.0  # if a job waits so long while none runs, no worker is there
PING_S: Final = 15.0  # proxies close connections on which nothing is sent
BUSY_S: Final = 2.0  # between two looks while a training is due or runs


def stream(call: Call) -> Response:
    """The state as server-sent events, as it changes. It ends after some minutes, and with the session."""
    return _Stream(call.context, call.person, str(call.secret))


class _Stream(StreamingResponse):
    """A stream that takes a place of the key when it begins, and gives it back however it ends."""

    def __init__(self, context: StudioContext, person: Principal, secret: str) -> None:
        headers = {**pages.PRIVATE, "X-Accel-Buffering": "no"}
        super().__init__(_states(context, person, secret), media_type="text/event-stream", headers=headers)
        self._context, self._key = context, person.actor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._context.streams.open(self._key)
        except TooMany as error:  # the page asks now and then instead
            await Response(str(error), 429, media_type="text/plain")(scope, receive, send)
            return
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._context.streams.close(self._key)


async def _states(context: StudioContext, person: Principal, secret: str) -> AsyncIterator[str]:
    ends_at, user_id = time.monotonic() + context.settings.stream_s, person_of(person)

    def look() -> tuple[UUID, dict[str, Any]]:
        with context.database.read_session() as session:
            sessions.read(session, secret)
            seen = events.last_id(session, user_id)  # before the state, so that nothing falls between the two
        return seen, state_of(context, person)

    known: dict[str, Any] | None = None
    while (left_s := ends_at - time.monotonic()) > 0:
        try:
            seen, state = await run_in_threadpool(look)
        except (Unauthenticated, NotFound):  # signed out, or erased
            return
        yield ": nothing new\n\n" if state == known else f"event: state\ndata: {json.dumps(state)}\n\n"
        known = state
        is_busy = state["job"] is not None or state["pending"] >= state["every"]
        await context.news.wait(person.actor, [(user_id, seen)], min(left_s, BUSY_S if is_busy else PING_S))


def state_of(context: StudioContext, person: Principal) -> dict[str, Any]:
    """What the person's judge has learned, and what waits.

    Raises:
        NotFound: the person was erased.
    """
    user_id = person_of(person)
    with context.database.read_session() as session:
        user = users.resolve(session, person, str(user_id))
        policy = scheduling.policy_of(user)
        active = versions.active(session, user_id)
        runs = versions.runs(session, user_id, limit=1)
        mine = jobs.list_jobs(session, person, user=str(user_id), limit=3)
        now = status.read(session, context.settings)
        is_idle = not any(number for state, number in now.num_jobs.items() if state.value == "running")
        waits_s = max(now.oldest_ready_s.values())
        pending = scheduling.pending_feedback(session, user_id)
        job = next((each.state.value for each in mine if each.state.value in ("queued", "running")), None)
        return {
            "version": active.number if active is not None else None,
            "num_ratings": active.num_ratings if active is not None else 0,
            "pending": pending,
            "every": policy.min_new_feedback,
            "job": job,
            "worker_away": waits_s > AWAY_S and is_idle,
            "last_run": (
                {"id": str(runs[0].id), "outcome": runs[0].outcome.value, "num_new": runs[0].num_new} if runs else None
            ),
            "pinned": user.pinned,
            "sequence": user.feedback_sequence,
        }
