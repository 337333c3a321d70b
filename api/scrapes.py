"""Scrapes of the metrics, which anybody may ask for without a key: many of them cost hardly more than a few.

A text is given again for a second. Scrapes that come while it is made wait for it together, without a thread. Scrapes
of one address beyond `AT_ONCE` are answered one every `PACE_S`: no monitoring asks as often, and clients that do would
be busy with their answers all at the same moment. Other addresses do not wait for them.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

from starlette.concurrency import run_in_threadpool

from paaplus.api import places
from paaplus.errors import TooMany

FRESH_S: Final = 1.0
AT_ONCE: Final = 10  # scrapes that need not wait
PACE_S: Final = 0.05
MAX_WAIT_S: Final = 5.0  # half of the time that Prometheus waits for an answer
MAX_ADDRESSES: Final = 1_000  # that are told apart; who asked longest ago is forgotten


class Scrapes:
    """Gives the text of the metrics. In the event loop only.

    Args:
        render: makes the text; called in a thread, never twice at once.
    """

    def __init__(self, render: Callable[[], bytes]) -> None:
        self._render = render
        self._text, self._made_at = b"", -math.inf
        self._paced_until: dict[str, float] = {}  # by address: when its next scrape would come if it had kept the pace
        self._next: asyncio.Task[bytes] | None = None

    async def text(self, address: str) -> bytes:
        """The text, as of `FRESH_S` ago at most.

        Args:
            address: the caller's.

        Raises:
            TooMany: so many scrapes of the address wait that this one would wait longer than `MAX_WAIT_S`.
        """
        if (wait_s := self._wait_s(address)) > 0:
            async with places.waiting():
                await asyncio.sleep(wait_s)
        if self._next is None:
            if asyncio.get_running_loop().time() <= self._made_at + FRESH_S:
                return self._text
            self._next = asyncio.create_task(self._make_next())
        async with places.waiting():
            return await asyncio.shield(self._next)  # who hangs up does not end it for the others

    def _wait_s(self, address: str) -> float:
        """How long a scrape that comes now has to wait, by the pace."""
        now = asyncio.get_running_loop().time()
        paced_until = max(self._paced_until.get(address, now), now) + PACE_S
        wait_s = paced_until - now - AT_ONCE * PACE_S
        if wait_s > MAX_WAIT_S:
            raise TooMany("too many scrapes wait", wait_s)
        self._paced_until.pop(address, None)  # so that the order is that of the last scrapes
        self._paced_until[address] = paced_until
        if len(self._paced_until) > MAX_ADDRESSES:
            del self._paced_until[next(iter(self._paced_until))]
        return wait_s

    async def _make_next(self) -> bytes:
        try:
            self._text = await run_in_threadpool(self._render)
            self._made_at = asyncio.get_running_loop().time()
            return self._text
        finally:
            self._next = None
