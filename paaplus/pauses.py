"""Pauses in long pieces of work: between two parts it lets others go first, if its surroundings know of any."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

_PAUSE: Final[ContextVar[Callable[[], None] | None]] = ContextVar("pause", default=None)


def pause() -> None:
    """Let others go first. It returns at once where nobody waits, as in a command of the command line.

    Not while a lock is held for which others wait.
    """
    wait = _PAUSE.get()
    if wait is not None:
        wait()


def use(wait: Callable[[], None]) -> None:
    """From now on, `pause` in this context, and in the threads that it starts, calls this."""
    _PAUSE.set(wait)
