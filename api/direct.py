"""Middleware that calls the most frequent routes without the framework's search for a route.

What the framework does between its middleware and a route costs a tenth of a small request. A route that is called
directly makes the same checks (`routing`), and its errors are answered by the same handlers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from paaplus.api import errors
from paaplus.api.path_prefix import route_path
from paaplus.api.routing import DirectRoute

Routes = dict[tuple[str, str], DirectRoute]  # by method and path


def direct_routes(routes: Iterable[BaseRoute]) -> Routes:
    """Those of these routes that are called directly: with a body of their own, and without parameters in the path."""
    return {
        (method, route.path): route
        for route in routes
        if isinstance(route, DirectRoute) and route.takes_body and "{" not in route.path
        for method in route.methods or ()
    }


class DirectMiddleware:
    """Calls these routes; all other requests go on. It must be the innermost middleware.

    Args:
        app: what the others go on to.
        routes: those that are called directly.
        load_for: adds the routes of a path, to `routes` too, unless they are there.
    """

    def __init__(self, app: ASGIApp, routes: Routes, load_for: Callable[[str], Awaitable[None]]) -> None:
        self.app, self._routes, self._load_for = app, routes, load_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method, path = scope["method"], route_path(scope)
        route = self._routes.get((method, path))
        if route is None:
            await self._load_for(path)
            route = self._routes.get((method, path))
        if route is None:
            await self.app(scope, receive, send)
            return
        scope["route"], scope["endpoint"], scope["path_params"] = route, route.endpoint, {}
        request = Request(scope, receive, send)
        try:
            response = await route.checked(request)
        except Exception as error:
            answered = await errors.answer_handled(request, error)
            if answered is None:
                raise
            response = answered
        await response(scope, receive, send)
