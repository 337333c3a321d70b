"""A limit on attempts with unknown API keys, per address, in the memory of one process.

Over the limit, only keys that were valid lately are looked up in the database. So an attacker behind the same proxy
does not lock anybody out who is known.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from typing import Final

from paaplus.errors import TooMany
from paaplus.ids import sha256_hex

WINDOW_S: Final = 60.0
NUM_ADDRESSES: Final = 10_000
NUM_KNOWN: Final = 4096


class FailedAttempts:
    """Counts failed attempts by address, in windows of a minute.

    Args:
        per_minute: how many an address has; 0: no limit.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()  # end of the window, attempts
        self._known: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def require_room(self, address: str, token: str) -> None:
        """Refuse a look-up if the address is over its limit and the key was not valid lately.

        Raises:
            TooMany: the limit is reached.
        """
        if not self._per_minute:
            return
        now = time.monotonic()
        with self._lock:
            ends_at, count = self._counts.get(address, (0.0, 0))
            if count < self._per_minute or ends_at <= now or sha256_hex(token.encode()) in self._known:
                return
        raise TooMany(
            f"{count} requests with an unknown API key in a minute: try again in {math.ceil(ends_at - now)} s",
            ends_at - now,
        )

    def count(self, address: str) -> None:
        """Count a failed attempt."""
        now = time.monotonic()
        with self._lock:
            ends_at, count = self._counts.pop(address, (0.0, 0))
            if ends_at <= now:
                ends_at, count = now + WINDOW_S, 0
            self._counts[address] = ends_at, count + 1
            if len(self._counts) > NUM_ADDRESSES:
                self._counts.popitem(last=False)

    def known_digest(self, token: str) -> str | None:
        """The digest of a key or of a session's secret that was valid lately; None: it was not."""
        digest = sha256_hex(token.encode())
        return digest if digest in self._known else None

    def remember(self, token: str) -> None:
        """Remember that a key, or the secret of a session, was valid."""
        digest = sha256_hex(token.encode())
        with self._lock:
            self._known[digest] = None
            self._known.move_to_end(digest)
            if len(self._known) > NUM_KNOWN:
                self._known.popitem(last=False)
