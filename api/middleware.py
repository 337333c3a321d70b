"""Middleware of every request: its id, metrics, a line in the log, and an answer even after an unexpected error."""

from __future__ import annotations

import re
import time
from uuid import uuid4

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paaplus.api.bodies import Reading, drain_refused
from paaplus.api.errors import answer_unexpected
from paaplus.api.metrics import Metrics

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
PAGE_POLICY = (  # the page of the documentation loads nothing from elsewhere; its start is an inline script
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"
)
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
HEADERS_KEY = "paaplus.headers"  # in the scope: headers that the answer gets, whatever becomes of the request
MONITORING = frozenset({"/healthz", "/readyz", "/metrics"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = structlog.get_logger(__name__)


class RequestMiddleware:
    """Gives each request an id for logs and answer, the caller's `X-Request-ID` if it is valid, and counts the request.

    Metrics and log have the route's template, not the path: paths contain the names that applications give their users,
    and their number has no limit. HEAD is answered as GET without the body. The body of a refused request is read away
    before the answer: a client that is still sending would see a reset connection, and not the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex
        status_code, is_stream = 0, False
        method = scope["method"]
        if method == "HEAD":
            scope = {**scope, "method": "GET"}
        reading = Reading(receive)

        async def send_with_id(message: Message) -> None:
            nonlocal status_code, is_stream
            if message["type"] == "http.response.start":
                status_code = message["status"]
                if status_code >= 400:
                    settings = scope["app"].state.context.settings
                    await drain_refused(reading, scope, status_code, settings.max_upload_bytes)
                kind = _add_headers(message, request_id, scope)
                is_stream = kind.startswith("text/event-stream")
            elif method == "HEAD":
                if message.get("more_body", False):
                    return
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, reading, send_with_id)
            except Exception as error:
                response = answer_unexpected(error)
                if not status_code:
                    await response(scope, reading, send_with_id)
            finally:
                _count(scope, method, status_code, time.perf_counter() - started, is_stream)


def _count(scope: Scope, method: str, status_code: int, seconds: float, is_stream: bool) -> None:
    metrics: Metrics = scope["app"].state.context.metrics
    known = method if method in METHODS else "other"
    route = _template(scope) or "unmatched"
    metrics.count_request(known, route, status_code, None if is_stream else seconds)
    write = log.debug if route in MONITORING and status_code < 400 else log.info
    write("request", method=known, route=route, status=status_code, ms=round(1000 * seconds, 2))


def _template(scope: Scope) -> str:
    """The template of the route that answers, without a prefix of a proxy; empty: there is none."""
    return str(getattr(scope.get("route"), "path", ""))


def _add_headers(message: Message, request_id: str, scope: Scope) -> str:
    """Add the request's id, the limits, and security headers for browsers. Returns the type of the content.

    A header that the route has set stays, but for the id, the limits and `X-Content-Type-Options`.
    """
    given = dict(message.get("headers", ()))
    kind = str(given.get(b"content-type", b""), "latin-1")
    ours = {"x-request-id": request_id, "x-content-type-options": "nosniff", **scope.get(HEADERS_KEY, {})}
    defaults = {
        b"referrer-policy": "no-referrer",
        b"x-frame-options": "DENY",
        b"content-security-policy": PAGE_POLICY if kind.startswith("text/html") else DATA_POLICY,
    }
    if _template(scope).startswith("/v1"):
        defaults[b"cache-control"] = "no-store"  # answers contain personal data, and new keys
    if scope["scheme"] == "https":  # also behind a proxy, if the server trusts its X-Forwarded-Proto
        defaults[b"strict-transport-security"] = "max-age=31536000"
    added = {name.lower().encode("latin-1"): value.encode("latin-1") for name, value in ours.items()}
    kept = [header for header in message.get("headers", ()) if header[0] not in added]
    missing = [(name, value.encode("latin-1")) for name, value in defaults.items() if name not in given]
    message["headers"] = [*kept, *added.items(), *missing]
    return kind
