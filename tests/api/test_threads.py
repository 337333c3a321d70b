"""Threads for the work of requests: results, errors and context variables as in the framework's own."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from paaplus.api.threads import Threads

NAME: ContextVar[str] = ContextVar("name", default="nobody")


def test_work_runs_in_another_thread_with_the_requests_context() -> None:
    async def ask() -> tuple[str, int]:
        threads = Threads()
        NAME.set("ada")
        try:
            return await threads.run(lambda suffix: (NAME.get() + suffix, threading.get_ident()), suffix="!")
        finally:
            threads.close()

    name, thread = asyncio.run(ask())
    assert name == "ada!"
    assert thread != threading.get_ident()


def test_an_error_is_raised_where_the_work_was_asked_for() -> None:
    def fail() -> None:
        raise KeyError("gone")

    async def ask() -> None:
        threads = Threads()
        for _ in range(2):  # the thread goes on after an error
            with pytest.raises(KeyError, match="gone"):
                await threads.run(fail)
        threads.close()

    asyncio.run(ask())


def test_works_run_at_the_same_time_up_to_the_number_of_threads() -> None:
    meet, entered = threading.Barrier(2), threading.Semaphore(0)

    def work() -> None:
        entered.release()
        meet.wait(60)

    async def ask() -> int:
        threads = Threads(max_threads=2)
        works = [asyncio.ensure_future(threads.run(work)) for _ in range(4)]
        await asyncio.gather(*works)
        threads.close()
        return len(threads._threads)

    assert asyncio.run(ask()) == 2
    assert sum(entered.acquire(blocking=False) for _ in range(4)) == 4


def test_a_cancelled_request_leaves_its_thread_to_others() -> None:
    go_on = threading.Event()

    async def ask() -> str:
        threads = Threads(max_threads=1)
        cancelled = asyncio.ensure_future(threads.run(go_on.wait, 60))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert cancelled.cancelled()
        go_on.set()
        found = await threads.run(lambda: "done")
        threads.close()
        return found

    assert asyncio.run(ask()) == "done"
