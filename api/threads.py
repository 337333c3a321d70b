"""Threads for the work of a request: a change of threads that costs a third of what the framework's own costs.

It is for the most frequent requests. The context variables of a request are those of its work, as in
`run_in_threadpool`.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, ParamSpec, TypeVar

MAX_THREADS: Final = 40  # as many as the framework has

P = ParamSpec("P")
T = TypeVar("T")

_Work = tuple[Callable[[], Any], contextvars.Context, asyncio.Future[Any]]


class Threads:
    """Threads of one event loop, started when they are needed. To be used in that loop only."""

    def __init__(self, max_threads: int = MAX_THREADS) -> None:
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._max_threads = max_threads
        self._threads: list[threading.Thread] = []
        self._num_given = 0  # works that have no result yet

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of the work, done in a thread. A cancelled request waits no longer; its work goes on."""
        self._num_given += 1
        if self._num_given > len(self._threads) < self._max_threads:
            thread = threading.Thread(target=self._run, name=f"request-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.put((lambda: work(*args, **kwargs), contextvars.copy_context(), result))
        return await result

    def close(self) -> None:
        """End the threads when their work is done."""
        for _ in self._threads:
            self._waiting.put(None)

    def _run(self) -> None:
        while (given := self._waiting.get()) is not None:
            work, context, result = given
            error = found = None
            try:
                found = context.run(work)
            except BaseException as raised:
                error = raised
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                result.get_loop().call_soon_threadsafe(self._end, result, found, error)
            del given, work, context, result, error, found  # until the next work comes, nothing of this one is kept

    def _end(self, result: asyncio.Future[Any], found: Any, error: BaseException | None) -> None:
        self._num_given -= 1
        if result.done():  # cancelled
            return
        if error is None:
            result.set_result(found)
        else:
            result.set_exception(error)
