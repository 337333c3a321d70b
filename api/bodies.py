"""Request bodies: limits on their size and form, reading away what is refused, and JSON without doubled keys.

Python's reader of JSON lets no other thread run while it reads numbers, texts and lists. So what a document may hold is
bounded before it is read.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from paaplus import pauses

DRAIN_BYTES: Final = 64 * 2**20  # of a body that is refused with a valid key, beyond the largest upload
DRAIN_UNKNOWN_BYTES: Final = 32 * 2**20  # without one
DRAIN_FLOOD_BYTES: Final = 2**20  # of a caller who asks too often
DRAIN_S: Final = 10.0
THREAD_BYTES: Final = 2**16  # a larger JSON document is parsed in a thread, so that other requests go on
COUNT_BYTES: Final = 2**16  # counted at once
PART: Final = 4_096  # tokens between two pauses
PART_OBJECTS: Final = 256  # the same for objects
MAX_VALUES: Final = 100_000  # of a JSON document: its objects, lists and what is in them
MAX_NAMES: Final = 1_000  # of one object

AsObject = Callable[[Sequence[tuple[str, Any]]], dict[str, Any]]

_TOKEN: Final = re.compile(rb'\\.|[",\[{]', re.DOTALL)


class Reading:
    """`receive` of a request, which knows what has been read of the body."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.has_begun = self.is_over = False

    async def __call__(self) -> Message:
        self.has_begun = True
        part = await self._receive()
        self.is_over = part["type"] != "http.request" or not part.get("more_body", False)
        return part


async def drain_refused(reading: Reading, scope: Scope, status_code: int, max_upload_bytes: int) -> None:
    """Read away the rest of the body of a request that is refused. The answer must not have begun.

    A client that waits for `100 Continue` has not sent it, and is not asked to.
    """
    headers = Headers(scope=scope)
    if reading.is_over or not _announces_body(headers):
        return
    if not reading.has_begun and headers.get("expect", "").lower() == "100-continue":
        return
    if scope.get("state", {}).get("principal") is not None:
        most = DRAIN_BYTES + max_upload_bytes
    else:
        most = DRAIN_FLOOD_BYTES if status_code == 429 else DRAIN_UNKNOWN_BYTES
    await drain(reading, most)


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
    return _announces_body(request.headers)


def _announces_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def limited(receive: Receive, max_bytes: int) -> Receive:
    """Receive a body up to `max_bytes`; a longer one is refused with 413."""
    num_read = 0

    async def receive_limited() -> Message:
        nonlocal num_read
        part = await receive()
        num_read += len(part.get("body", b""))
        if num_read > max_bytes:
            raise too_large(max_bytes)
        return part

    return receive_limited


def too_large(max_bytes: int) -> HTTPException:
    return HTTPException(413, f"the body of the request is larger than {max_bytes} bytes, the limit of this path")


async def read_json(request: Request, max_values: int = MAX_VALUES) -> None:
    """Read and parse the body, so that `request.json()` returns it.

    Raises:
        RequestValidationError: not JSON, or an object that has a key twice.
        HTTPException: 400, the text cannot be decoded or is nested too deeply; 413, it has too many values.
    """
    body = await request.body()
    if not body:
        return
    parsed = await run_in_threadpool(_parse_large, body, max_values) if is_large(body) else _parse(body, max_values)
    request._json = parsed  # where Starlette keeps it


def is_large(body: bytes) -> bool:
    """Whether work on the whole body belongs in a thread."""
    return len(body) > THREAD_BYTES


def _parse_large(body: bytes, max_values: int) -> Any:
    pauses.pause()
    num_objects = 0

    def as_object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal num_objects
        num_objects += 1
        if num_objects % PART_OBJECTS == 0:
            pauses.pause()
        return _as_object(pairs)

    parsed = _parse(body, max_values, as_object)
    pauses.pause()
    return parsed


def _parse(body: bytes, max_values: int, as_object: AsObject | None = None) -> Any:
    if not (encoding := json.detect_encoding(body)).startswith("utf-8"):  # `loads` would read it, and nobody count it
        raise HTTPException(415, f"the body is {encoding.upper()}: JSON is sent in UTF-8")
    if has_more_values(body, max_values):
        raise HTTPException(413, f"the JSON document has more than {max_values} values, the limit")
    try:
        return json.loads(body, object_pairs_hook=as_object or _as_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        problem = {"type": "json_invalid", "loc": ("body", error.pos), "msg": f"JSON decode error: {error.msg}"}
        raise RequestValidationError([problem]) from error
    except RecursionError as error:
        raise HTTPException(400, "the body cannot be read as JSON: it is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise HTTPException(400, f"the body cannot be read as JSON: {error}") from error
    except ValueError as error:  # Python reads no longer ones
        most = sys.get_int_max_str_digits()
        raise HTTPException(400, f"the body cannot be read as JSON: a number has more than {most} digits") from error


def has_more_values(body: bytes, most: int) -> bool:
    """Whether a JSON document has more than `most` values: a comma, and what opens an object or a list, each begin one.

    Those in texts are counted apart only if all together are too many. That loop lets other threads run.
    """
    num_signs = 0
    for start in range(0, len(body), COUNT_BYTES):
        num_signs += sum(body.count(sign, start, start + COUNT_BYTES) for sign in (b",", b"[", b"{"))
        if num_signs >= most:
            break
    else:
        return False
    count, in_text = 0, False
    for number, token in enumerate(_TOKEN.finditer(body), 1):
        if number % PART == 0:
            pauses.pause()
        sign = token[0]
        if sign == b'"':
            in_text = not in_text
        elif not in_text and len(sign) == 1:
            count += 1
            if count > most:
                return True
    return False


def _as_object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(pairs) > MAX_NAMES:
        problem = {"type": "too_long", "loc": ("body",), "msg": f"an object has {len(pairs)} keys; at most {MAX_NAMES}"}
        raise RequestValidationError([problem])
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    double = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    problem = {"type": "json_doubled_key", "loc": ("body", double[:128]), "msg": "the key is in the object twice"}
    raise RequestValidationError([problem])


def _refuse_constant(name: str) -> NoReturn:
    problem = {"type": "json_invalid", "loc": ("body",), "msg": f"JSON has no {name}"}
    raise RequestValidationError([problem])
