"""Pauses in long pieces of work: between two parts it lets others go first, if its surroundings know of any."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final, Protocol


class Surroundings(Protocol):
    """What knows of others."""

    def pause(self) -> None:
        """Let others go first."""

    def others_are_active(self) -> bool:
        """Whether there are any, now or a moment ago."""


_SURROUNDINGS: Final[ContextVar[Surroundings | None]] = ContextVar("surroundings", default=None)


def pause() -> None:
    """Let others go first. It returns at once where nobody waits, as in a command of the command line.

    Not while a lock is held for which others wait.
    """
    surroundings = _SURROUNDINGS.get()
    if surroundings is not None:
        surroundings.pause()


def others_are_active() -> bool:
    """Whether others are there who would wait for a long part; False as in a command of the command line."""
    surroundings = _SURROUNDINGS.get()
    return surroundings is not None and surroundings.others_are_active()


def use(surroundings: Surroundings) -> None:
    """From now on, `pause` in this context, and in the threads that it starts, asks this."""
    _SURROUNDINGS.set(surroundings)
