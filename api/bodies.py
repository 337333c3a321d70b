"""Request bodies: a limit on their size, reading away what is refused, and JSON without doubled keys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive

DRAIN_BYTES: Final = 64 * 2**20  # of a body that is refused with a valid key
DRAIN_UNKNOWN_BYTES: Final = 2**20  # without one
DRAIN_S: Final = 10.0
THREAD_BYTES: Final = 2**16  # a larger JSON document is parsed in a thread, so that other requests go on


async def drain(receive: Receive, max_bytes: int) -> None:
    """Read the rest of a body and throw it away.

    A client that is still sending sees a reset connection, and not the answer, if the server closes first. Bounded in
    bytes and time, because the client decides how long the body is.
    """
    num_read = 0
    try:
        async with asyncio.timeout(DRAIN_S):
            while num_read <= max_bytes:
                part = await receive()
                num_read += len(part.get("body", b""))
                if part["type"] != "http.request" or not part.get("more_body", False):
                    return
    except TimeoutError:
        return


def announced_bytes(request: Request) -> int | None:
    """The body's length as its header says; None: no header, or chunks of unknown length."""
    announced = request.headers.get("content-length", "")
    return int(announced) if announced.isascii() and announced.isdecimal() else None


def has_body(request: Request) -> bool:
    """Whether the headers announce a body."""
    return bool(announced_bytes(request)) or "transfer-encoding" in request.headers


def limited(receive: Receive, max_bytes: int) -> Receive:
    """Receive a body up to `max_bytes`; a longer one is refused with 413 after it was read away."""
    num_read = 0

    async def receive_limited() -> Message:
        nonlocal num_read
        part = await receive()
        num_read += len(part.get("body", b""))
        if num_read > max_bytes:
            if part.get("more_body", False):
                await drain(receive, DRAIN_BYTES)
            raise too_large(max_bytes)
        return part

    return receive_limited


def too_large(max_bytes: int) -> HTTPException:
    return HTTPException(413, f"the body of the request is larger than {max_bytes} bytes, the limit of this path")


async def read_json(request: Request) -> None:
    """Read and parse the body, so that `request.json()` returns it.

    Raises:
        RequestValidationError: not JSON, or an object that has a key twice.
        HTTPException: 400, the text cannot be decoded or is nested too deeply; 413.
    """
    body = await request.body()
    if not body:
        return
    parsed = await run_in_threadpool(_parse, body) if len(body) > THREAD_BYTES else _parse(body)
    request._json = parsed  # where Starlette keeps it


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body, object_pairs_hook=_without_doubles, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        problem = {"type": "json_invalid", "loc": ("body", error.pos), "msg": f"JSON decode error: {error.msg}"}
        raise RequestValidationError([problem]) from error
    except (RecursionError, ValueError) as error:
        raise HTTPException(400, f"the body cannot be read as JSON: {error}") from error


def _without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    double = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    problem = {"type": "json_doubled_key", "loc": ("body", double[:128]), "msg": "the key is in the object twice"}
    raise RequestValidationError([problem])


def _refuse_constant(name: str) -> NoReturn:
    problem = {"type": "json_invalid", "loc": ("body",), "msg": f"JSON has no {name}"}
    raise RequestValidationError([problem])
