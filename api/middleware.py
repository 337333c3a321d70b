"""Middleware of every request: its id, its metrics, and an answer even after an unexpected error."""

from __future__ import annotations

import re
import time
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paaplus.api.errors import answer_unexpected

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
PAGE_POLICY = "frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestMiddleware:
    """Gives each request an id for logs and answer, the caller's `X-Request-ID` if it is valid, and counts the request.

    Metrics have the route's template as a label, not the path: paths contain ids, so their number has no limit.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex
        status_code = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status_code
            if message["type"] == "http.response.start":
                status_code = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                _secure(headers, scope)
            await send(message)

        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, send_with_id)
            except Exception as error:
                response = answer_unexpected(error)
                if not status_code:
                    await response(scope, receive, send_with_id)
            finally:
                self._count(scope, status_code, time.perf_counter() - started)

    @staticmethod
    def _count(scope: Scope, status_code: int, seconds: float) -> None:
        metrics = scope["app"].state.context.metrics
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = getattr(scope.get("route"), "path", "unmatched")
        metrics.requests.labels(method, route, str(status_code)).inc()
        metrics.request_seconds.labels(method, route).observe(seconds)


def _secure(headers: MutableHeaders, scope: Scope) -> None:
    """Security headers for browsers. A header that the route has set stays."""
    is_page = headers.get("content-type", "").startswith("text/html")
    headers["X-Content-Type-Options"] = "nosniff"
    headers.setdefault("Referrer-Policy", "no-referrer")
    headers.setdefault("X-Frame-Options", "DENY")
    headers.setdefault("Content-Security-Policy", PAGE_POLICY if is_page else DATA_POLICY)
    if scope["path"].startswith("/v1/"):
        headers.setdefault("Cache-Control", "no-store")  # answers contain personal data, and new keys
    if scope["scheme"] == "https":  # also behind a proxy, if the server trusts its X-Forwarded-Proto
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")
