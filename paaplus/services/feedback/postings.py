"""A queue of postings: those of one caller in the order of their arrival, callers in turns."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from paaplus.errors import Unavailable

ACTIVE_S: Final = 1.0  # after its last posting a caller counts as active

T = TypeVar("T")


class PostingQueue(Generic[T]):
    """Gives postings to one writer, in groups. Postings may come from any thread.

    Args:
        max_waiting: postings that wait.
        size_of: the number of events of a posting.
    """

    def __init__(self, max_waiting: int, size_of: Callable[[T], int]) -> None:
        self._max_waiting, self._size_of = max_waiting, size_of
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()  # the caller whose turn it is first
        self._seen_at: dict[str, float] = {}
        self._num_waiting = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def put(self, caller: str, postings: Sequence[T]) -> None:
        """Add postings of a caller, all or none.

        Raises:
            Unavailable: too many wait.
        """
        with self._changed:
            if self._num_waiting + len(postings) > max(self._max_waiting, len(postings)):
                raise Unavailable("too much feedback at once; try again")
            self._waiting.setdefault(caller, deque()).extend(postings)
            self._num_waiting += len(postings)
            self._seen_at[caller] = time.monotonic()
            self._changed.notify()

    def take(self, most: int, most_shared: int) -> list[T]:
        """Wait for postings, and take one after the other, of each caller in turn; empty: the queue is closed.

        Args:
            most: events of a group, unless one posting has more.
            most_shared: the same while several callers post: nobody shall wait long behind the group of another.
        """
        with self._changed:
            while not self._waiting:
                if self._is_closed:
                    return []
                self._changed.wait()
            self._forget_old()
            room = most if len(self._seen_at) < 2 else most_shared
            group: list[T] = []
            passed = 0  # callers in a row whose next posting does not fit
            while self._waiting and passed < len(self._waiting):
                caller, postings = self._waiting.popitem(last=False)
                size = self._size_of(postings[0])
                if group and size > room:
                    passed += 1
                else:
                    passed = 0
                    group.append(postings.popleft())
                    room -= size
                    self._num_waiting -= 1
                if postings:
                    self._waiting[caller] = postings
                if room <= 0:
                    break
            return group

    def close(self) -> None:
        """What waits is still given out."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _forget_old(self) -> None:
        oldest = time.monotonic() - ACTIVE_S
        for caller in [caller for caller, seen_at in self._seen_at.items() if seen_at < oldest]:
            if caller not in self._waiting:
                del self._seen_at[caller]
