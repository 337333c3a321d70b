"""The path prefix under which a reverse proxy shows the platform, whether the proxy takes it off or leaves it."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class PathPrefixMiddleware:
    """Gives the routes each path with the prefix once, and the prefix as `root_path`, as ASGI asks.

    The prefix is that of the settings or, without one, the server's (`uvicorn --root-path`). A proxy may take the
    prefix off, or not; and the server puts its own before what it gets. A path without the prefix works too: probes
    and this machine's users come past the proxy.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app, self.prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            of_server = scope.get("root_path", "").rstrip("/")
            if prefix := self.prefix or of_server:
                path = _without(_without(scope["path"], of_server), prefix)
                scope = {**scope, "root_path": prefix, "path": prefix + path}
        await self.app(scope, receive, send)


def _without(path: str, prefix: str) -> str:
    if path == prefix and prefix:
        return "/"
    return path[len(prefix) :] if path.startswith(f"{prefix}/") else path


def route_path(scope: Scope) -> str:
    """The path as routes name it, without the prefix. For what is inside of the middleware."""
    return str(scope["path"].removeprefix(scope.get("root_path", "")))
