"""Errors as HTTP answers: problem details (RFC 9457), with `{"error": {"code", "message", "details"?}}` among them."""

from __future__ import annotations

import math
import re
import traceback
from collections.abc import Mapping
from functools import cache
from types import NoneType
from typing import Any, cast

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path

from paaplus.api.path_prefix import route_path
from paaplus.errors import (
    PaaplusError,
    TooLarge,
    TooMany,
    Unavailable,
)

HEADERS: dict[int, dict[str, str]] = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "5"}}

PROBLEM = "application/problem+json"
INTERNAL_ERROR = "internal error; the log has the details under this request's id"

MAX_DETAILS = 100  # of one answer: what is wrong in a request, one by one
KINDS = {
    list: "a list",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
}

# By route: the field for many items. A caller who sends a bare list is told of it.
LISTS = {
    "/v1/feedback": "events",
    "/v1/predictions": "items",
    "/v1/rankings": "images",
    "/v1/audiences": "users",
    "/v1/pseudo-labels/precomputed": "labels",
}

log = structlog.get_logger(__name__)


def install(app: FastAPI) -> None:
    """Make the application answer with these errors. The handlers are asynchronous: others would each take a thread."""
    app.add_exception_handler(PaaplusError, _answer_known)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(DBAPIError, _answer_database)
    app.add_exception_handler(PoolTimeoutError, _answer_database)


async def answer_handled(request: Request, error: Exception) -> Response | None:
    """The answer of the application's own handler of an error; None: it has none."""
    handlers = request.app.exception_handlers
    handle = next((handlers[kind] for kind in type(error).__mro__ if kind in handlers), None)
    return cast(Response, await handle(request, error)) if handle is not None else None


def answer(
    status_code: int, code: str, message: str, details: Any = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The answer to a failed request."""
    body: dict[str, Any] = {"code": code, "message": message}
    if details is not None:
        body["details"] = details
    problem = {
        "type": f"urn:paaplus:error:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status_code,
        "detail": message,
        "error": body,
    }
    return JSONResponse(problem, status_code, headers=headers or HEADERS.get(status_code), media_type=PROBLEM)


def answer_unexpected(error: Exception) -> JSONResponse:
    """Log an unexpected error, and hide its details from the caller."""
    log.error("unexpected_error", error=type(error).__name__, exc_info=error)
    return answer(500, "internal_error", INTERNAL_ERROR)


async def _answer_known(_request: Request, error: Exception) -> JSONResponse:
    known = cast(PaaplusError, error)
    status_code = known.http_status
    if status_code == 500:
        return answer_unexpected(error)
    if status_code == 503:
        log.warning("unavailable", error=str(known))
    headers = {"Retry-After": str(math.ceil(known.retry_after_s))} if isinstance(known, TooMany) else None
    return answer(status_code, known.code, str(known), headers=headers)


async def _answer_invalid(request: Request, error: Exception) -> JSONResponse:
    if isinstance(getattr(error, "body", None), list):
        route = getattr(request.scope.get("route"), "path", "")
        many = f', e.g. {{"{LISTS[route]}": [...]}}' if route in LISTS else ""
        return answer(422, "invalid_request", f"body: an object is needed, not a list{many}")
    # Without the input: it may contain a secret, or a NaN, which JSON cannot express.
    details = [
        {"loc": list(e["loc"]), "message": words_of(e), "type": e["type"]}
        for e in cast(RequestValidationError, error).errors()[:MAX_DETAILS]
    ]
    where = ".".join(str(part) for part in details[0]["loc"])
    return answer(422, "invalid_request", f"{where}: {details[0]['message']}", details)


def words_of(problem: Mapping[str, Any]) -> str:
    """What is wrong with a value, where the framework's words name its own insides."""
    message = str(problem["msg"])
    if problem["type"] in ("model_attributes_type", "model_type", "dict_type"):
        return f"an object is needed, not {KINDS.get(type(problem.get('input')), 'another value')}"
    if problem["type"] == "too_short" and isinstance(problem.get("input"), str):
        return "is empty"
    if problem["type"] == "too_long" and isinstance(text := problem.get("input"), str):
        return f"has {len(text)} characters; at most {problem['ctx']['max_length']} are accepted"
    if "Expected UploadFile" in message:
        return "a file is needed, with a file name"
    return message.removeprefix("Value error, ")


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    known = cast(HTTPException, error)
    headers = {"Allow": ", ".join(_methods(request))} if known.status_code == 405 else known.headers
    codes = {
        400: "invalid_request",
        404: "not_found",
        405: "method_not_allowed",
        413: TooLarge.code,
        415: "unsupported_media_type",
    }
    code = codes.get(known.status_code, "http_error")
    return answer(known.status_code, code, str(known.detail), headers=headers)


def _methods(request: Request) -> list[str]:
    """The methods of all routes of this path. The framework names those of the first route alone."""
    path, found = route_path(request.scope), set[str]()
    for context in iter_route_contexts(request.app.router.routes):  # those of the nouns of this path are among them
        if context.path and context.methods and _pattern(context.path).match(path):
            found |= context.methods
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


@cache
def _pattern(path: str) -> re.Pattern[str]:
    return compile_path(path)[0]


async def _answer_database(_request: Request, error: Exception) -> JSONResponse:
    """Answer 503 for a lost connection or a lock timeout, and 500 for any other database error."""
    if isinstance(error, PoolTimeoutError | OperationalError | InterfaceError):
        log.warning("database_unavailable", error=type(error).__name__)
        return answer(503, Unavailable.code, "the database does not answer; nothing was changed, try again")
    # Without the message: PostgreSQL writes values of the row into it.
    statement = (cast(DBAPIError, error).statement or "")[:500]
    stack = "".join(traceback.format_tb(error.__traceback__))
    log.error("unexpected_database_error", error=type(error).__name__, statement=statement, stack=stack)
    return answer(500, "internal_error", INTERNAL_ERROR)
