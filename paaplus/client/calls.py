"""One HTTP call: its answer, its errors, and when it is sent again.

Every act is written once, as a generator of `Steps`: it yields calls and pauses, and is given answers. `Client` and
`AsyncClient` carry the steps out, each in its own way.

A call is sent again only where that changes nothing more: it reads, or its events have ids, or its file is known by
its content, or it carries an `Idempotency-Key`.
"""

from __future__ import annotations

import json as json_module
import random
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar
from uuid import uuid4

from paaplus.errors import PaaplusError

AGAIN: Final = frozenset({429, 502, 503, 504})  # answers after which the same call may succeed
KEY: Final = "Idempotency-Key"

T = TypeVar("T")


class RequestFailed(PaaplusError):
    """The server refused a request.

    Attributes:
        status: of HTTP.
        code: of the platform, for example `not_found`.
        details: more about it, if the server gave more.
        request_id: under which the server's log has it.
    """

    def __init__(self, status: int, code: str, message: str, details: Any = None, request_id: str | None = None):
        super().__init__(message)
        self.status, self.code, self.details, self.request_id = status, code, details, request_id


class NotReached(PaaplusError):
    """No answer came: the server, or the way to it, is down."""

    code = "not_reached"


class NotInTime(PaaplusError):
    """What was waited for did not happen in time."""

    code = "not_in_time"


@dataclass(frozen=True)
class Call:
    """One request. `file`: name and bytes of an upload, with the fields of `form`."""

    method: str
    path: str
    query: Mapping[str, str | int | float] = field(default_factory=dict)
    json: Any = None
    file: tuple[str, bytes] | None = None
    form: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    waits_s: float = 0.0  # how long the server may wait by agreement, in addition to the timeout
    once: bool = False  # carries an idempotency key, of its own unless it has one among its headers
    missing_is_done: bool = False  # sent again, 404 means that the first one arrived


@dataclass(frozen=True)
class Answer:
    """The answer to a call."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    content: bytes

    def json(self) -> Any:
        return json_module.loads(self.content) if self.content else None


@dataclass(frozen=True)
class Lost:
    """No answer came, for this reason."""

    reason: str


@dataclass(frozen=True)
class Pause:
    """A wait before the next step. What it is answered with is not looked at."""

    seconds: float


Steps = Generator[Call | Pause, Answer | Lost, T]


@dataclass(frozen=True)
class Retries:
    """How often, and after which pauses, a call is sent again.

    Args:
        limit: further tries of one call; 0: none.
        base_s: the first pause, doubled at each try, with jitter.
        longest_s: the longest pause. If the server asks for a longer one, its answer is given at once.
    """

    limit: int = 6
    base_s: float = 0.2
    longest_s: float = 60.0

    def pause_s(self, attempt: int, answer: Answer | Lost) -> float | None:
        """Seconds until the next try; None: there is none."""
        if attempt >= self.limit:
            return None
        asked_s = _retry_after_s(answer) if isinstance(answer, Answer) else None
        if asked_s is not None:
            return asked_s if asked_s <= self.longest_s else None
        return random.uniform(0.5, 1.0) * min(self.longest_s, self.base_s * 2.0**attempt)


def send(call: Call, retries: Retries) -> Steps[Answer]:
    """Send a call until it is answered.

    Raises:
        RequestFailed: the server refused it.
        NotReached: no answer came, at the last try neither.
    """
    if call.once and KEY not in call.headers:
        call = replace(call, headers={**call.headers, KEY: f"client-{uuid4().hex}"})
    attempt = 0
    while True:
        answer = yield call
        if isinstance(answer, Answer) and answer.status not in AGAIN:
            break
        pause_s = retries.pause_s(attempt, answer)
        if pause_s is None:
            break
        yield Pause(pause_s)
        attempt += 1
    if isinstance(answer, Lost):
        raise NotReached(f"{call.method} {call.path}: {answer.reason}")
    if answer.status == 404 and attempt and call.missing_is_done:
        return Answer(204, answer.headers, b"")
    if answer.status >= 400:
        raise failure(call, answer)
    return answer


def failure(call: Call, answer: Answer) -> RequestFailed:
    """The error of an answer. What is no problem document comes from a proxy, and is shown in part."""
    request_id = answer.headers.get("x-request-id")
    try:
        error = answer.json()["error"]
        return RequestFailed(answer.status, error["code"], error["message"], error.get("details"), request_id)
    except (ValueError, KeyError, TypeError):
        text = answer.content[:200].decode(errors="replace")
        return RequestFailed(
            answer.status, "http_error", f"{call.method} {call.path}: {answer.status} {text}", None, request_id
        )


def _retry_after_s(answer: Answer) -> float | None:
    given = answer.headers.get("retry-after", "")
    if given.isdecimal():
        return float(given)
    try:
        return max(0.0, (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
