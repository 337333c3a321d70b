"""The way into the studio, which is loaded at the first request for one of its pages."""

from __future__ import annotations

from importlib import import_module

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send


class Studio:
    """The studio, to be mounted at `/studio`."""

    def __init__(self) -> None:
        self._router: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._router is None:
            routes = await run_in_threadpool(import_module, "paaplus.studio.routes")
            if self._router is None:  # of several first requests, one makes the sessions' cache
                self._router = routes.router()
        await self._router(scope, receive, send)


def home() -> Route:
    """The address without a path leads to the studio."""

    async def lead(request: Request) -> RedirectResponse:
        return RedirectResponse(request.scope.get("root_path", "").rstrip("/") + "/studio/", 307)

    return Route("/", lead, methods=["GET"], include_in_schema=False)
