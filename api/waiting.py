"""Waiting without threads and connections: for the database's answer, for the turn of a user, for costly work.

One task per process and kind of wait asks the database for all waiting requests together. All waits are bounded.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import structlog
from starlette.concurrency import run_in_threadpool

from paaplus.api import places
from paaplus.errors import TooMany, Unavailable

POLL_S: Final = 0.2
TURN_S: Final = 2.0

ItemT = TypeVar("ItemT")
T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class _Waiting(Generic[ItemT]):
    missing: set[ItemT]
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Waiter(Generic[ItemT]):
    """Lets requests wait until nothing that they name is missing: images' features, users' trainings.

    Args:
        still_missing: of these items, those that are missing; it queries the database.
        max_per_key: requests of one API key that wait at the same time.
    """

    def __init__(self, still_missing: Callable[[Collection[ItemT]], set[ItemT]], max_per_key: int) -> None:
        self._still_missing = still_missing
        self._max_per_key = max_per_key
        self._waiting: set[_Waiting[ItemT]] = set()
        self._by_key: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None

    async def wait(self, key: str, items: Collection[ItemT], wait_s: float) -> bool:
        """Wait until no item is missing, for `wait_s` at most; False: too many requests of this key wait already."""
        if self._by_key[key] >= self._max_per_key:
            return False
        waiting = _Waiting(set(items))
        self._by_key[key] += 1
        self._waiting.add(waiting)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            async with places.waiting(), asyncio.timeout(wait_s):
                await waiting.done.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(waiting)
            self._by_key[key] -= 1
            if not self._by_key[key]:
                del self._by_key[key]
        return True

    async def _poll(self) -> None:
        while self._waiting:
            await asyncio.sleep(POLL_S)
            wanted = set().union(*(waiting.missing for waiting in self._waiting))
            try:
                missing = await run_in_threadpool(self._still_missing, wanted) if wanted else set()
            except Exception as error:  # the database may answer again before the waits end
                log.warning("not_watched", error=type(error).__name__)
                continue
            for waiting in tuple(self._waiting):
                waiting.missing &= missing | (waiting.missing - wanted)
                if not waiting.missing:
                    waiting.done.set()


class Streams:
    """At most so many open streams of one API key in this process."""

    def __init__(self, max_per_key: int) -> None:
        self._max = max_per_key
        self._open: Counter[str] = Counter()

    def open(self, key: str) -> None:
        """Count a stream, which `close` ends. In the event loop only.

        Raises:
            TooMany: the key has as many already.
        """
        if self._open[key] >= self._max:
            raise TooMany(f"{self._max} streams of this key are open", 5.0)
        self._open[key] += 1

    def close(self, key: str) -> None:
        self._open[key] -= 1
        if not self._open[key]:
            del self._open[key]


class Turns:
    """At most so many changes of one user at the same time in this process; others wait for their turn.

    Changes of one user wait for the lock of the user's row. Without a bound they would take all threads and
    connections, and nobody else would be answered.
    """

    def __init__(self, max_per_user: int) -> None:
        self._max = max_per_user
        self._running: Counter[str] = Counter()
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def take(self, users: Collection[str]) -> AsyncIterator[None]:
        """Run the block when all these users have room.

        Raises:
            TooMany: there was no room for `TURN_S`.
        """
        names = set(users)
        if not names:
            yield
            return
        await self._acquire(names)
        try:
            await places.resume()
            yield
        finally:
            for name in names:
                self._running[name] -= 1
                if not self._running[name]:
                    del self._running[name]
            async with self._changed:
                self._changed.notify_all()

    async def _acquire(self, names: set[str]) -> None:
        def has_room() -> bool:
            return all(self._running[name] < self._max for name in names)

        if not has_room():
            places.release()
            started = time.monotonic()
            try:
                async with asyncio.timeout(TURN_S), self._changed:
                    await self._changed.wait_for(has_room)
            except TimeoutError:
                waited_s = time.monotonic() - started
                raise TooMany(
                    f"{self._max} requests that change this user are running; waited {waited_s:.0f} s for a turn", 2.0
                ) from None
        for name in names:
            self._running[name] += 1


class Workshop:
    """Does costly work in a few threads of its own. Requests wait for a turn without a thread.

    Args:
        num_threads: how many work at once.
        max_waiting: requests that wait for a turn.
        message: the error for those that do not fit.
    """

    def __init__(self, num_threads: int, max_waiting: int, message: str) -> None:
        self._turns = asyncio.Semaphore(num_threads)
        self._room = max_waiting
        self._message = message

    async def do(self, work: Callable[[], T]) -> T:
        """The result of the work.

        Raises:
            Unavailable: too many wait already.
        """
        if self._room == 0:
            raise Unavailable(f"{self._message}; try again")
        self._room -= 1
        try:
            if self._turns.locked():
                places.release()
            await self._turns.acquire()
            try:
                await places.resume()
                return await run_in_threadpool(work)
            finally:
                self._turns.release()
        finally:
            self._room += 1


class OneAtATime:
    """Lets each API key do a costly act once at a time in this process."""

    def __init__(self, message: str) -> None:
        self._message = message
        self._running: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def take(self, key: str) -> Iterator[None]:
        """Run the block, unless the key is running one.

        Raises:
            TooMany: it is.
        """
        with self._lock:
            if key in self._running:
                raise TooMany(f"{self._message}: wait for its end", 5.0)
            self._running.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(key)
