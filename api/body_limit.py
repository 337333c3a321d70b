"""A limit on the size of request bodies, per path."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paaplus.api.errors import answer
from paaplus.errors import TooLarge


class BodyLimitMiddleware:
    """Refuses a body whose declared size is over the limit, and stops reading at the limit.

    Args:
        limits: bytes by path.
        default: bytes for every other path.
    """

    def __init__(self, app: ASGIApp, limits: Mapping[str, int], default: int) -> None:
        self.app = app
        self.limits = limits
        self.default = default

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.limits.get(scope["path"], self.default)
        message = f"the body of the request is larger than {limit} bytes, the limit of this path"
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced) > limit:
            await answer(413, TooLarge.code, message)(scope, receive, send)
            return
        num_read = 0

        async def receive_limited() -> Message:
            nonlocal num_read
            part = await receive()
            num_read += len(part.get("body", b""))
            if num_read > limit:
                raise HTTPException(413, message)
            return part

        await self.app(scope, receive_limited, send)
