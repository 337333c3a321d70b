"""Middleware that lets few requests work at once, and gives callers their turn; see `places`."""

from __future__ import annotations

import asyncio
import math
from typing import Final

from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paaplus import pauses
from paaplus.api import errors
from paaplus.api.dependencies import ApiContext
from paaplus.api.path_prefix import route_path
from paaplus.api.places import ADDRESS, CURRENT, Place, Places, State
from paaplus.errors import PaaplusError, TooMany
from paaplus.services.users.failed_attempts import FailedAttempts
from paaplus.services.users.sessions import COOKIE

HEALTH: Final = ("/healthz", "/readyz")  # an orchestrator must not take a busy process for a dead one


class FairnessMiddleware:
    """Takes a place before any costly work, and gives it back when the answer begins.

    The caller is the owner of an API key, or of the studio's session, that was valid lately. Anybody else is the
    address: who invents keys is no other caller with each of them. The first part of the body is read before, the rest
    without a place. A request whose client has gone while it waited is not carried out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or route_path(scope) in HEALTH:
            await self.app(scope, receive, send)
            return
        context: ApiContext = scope["app"].state.context
        first = None if _expects_continue(scope) else await receive()
        try:
            place = context.places.ask(caller_of(scope, context.failures), _num_bytes(scope))
        except PaaplusError as error:
            await _refuse(error)(scope, receive, send)
            return

        async def receive_without_place() -> Message:
            nonlocal first
            if first is not None:
                message, first = first, None
                return message
            place.release()
            message = await receive()
            if not message.get("more_body", False):
                await place.take()
            return message

        async def send_without_place(message: Message) -> None:
            if message["type"] == "http.response.start":
                place.close(refused=message["status"] >= 400)
            await send(message)

        try:
            if place.state is State.WAITING and not await _wait(context.places, place, receive, first):
                return
            CURRENT.set(place)
            pauses.use(place)
            await self.app(scope, receive_without_place, send_without_place)
        except TooMany as error:  # it has waited too long; the application answers its own errors
            await _refuse(error)(scope, receive, send)
        finally:
            place.close()


def caller_of(scope: Scope, failures: FailedAttempts) -> str:
    """A name of the caller, from the headers alone: a digest of what is secret, or the address."""
    for name, value in scope["headers"]:
        secret: str | None = None
        if name == b"authorization":
            secret = value[7:].strip().decode("latin-1")  # after "Bearer "
        elif name == b"cookie":
            secret = cookie_parser(value.decode("latin-1")).get(COOKIE)
        if secret and (digest := failures.known_digest(secret)) is not None:
            return digest
    client = scope.get("client")
    return f"{ADDRESS}{client[0] if client else ''}"


async def _wait(places: Places, place: Place, receive: Receive, first: Message | None) -> bool:
    """Wait for the place; False: the client has gone."""
    is_read = first is not None and first["type"] == "http.request" and not first.get("more_body", False)
    if not is_read:  # what is received next is not the end of the connection
        await places.take(place)
        return True
    turn, gone = asyncio.ensure_future(places.take(place)), asyncio.ensure_future(receive())
    try:
        await asyncio.wait((turn, gone), return_when=asyncio.FIRST_COMPLETED)
        if turn.done():
            turn.result()
            return True
        return False
    finally:
        turn.cancel()
        gone.cancel()


def _refuse(error: PaaplusError) -> Response:
    headers = {"Retry-After": str(math.ceil(error.retry_after_s))} if isinstance(error, TooMany) else None
    return errors.answer(error.http_status, error.code, str(error), headers=headers)


def _num_bytes(scope: Scope) -> int:
    """Of the body, by its header; 0 where none tells."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 16 else 0
    return 0


def _expects_continue(scope: Scope) -> bool:
    return any(name == b"expect" for name, _ in scope["headers"])
