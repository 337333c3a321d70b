"""A cache of immutable values, bounded in bytes and safe for threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SizedCache(Generic[K, V]):
    """Keeps the most recently used entries, up to `max_bytes`. An entry larger than that is not kept."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self.num_hits = 0
        self.num_misses = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get_many(self, keys: Iterable[K]) -> dict[K, V]:
        """The entries of these keys that are in the cache."""
        found = {}
        with self._lock:
            for key in keys:
                entry = self._entries.get(key)
                if entry is None:
                    self.num_misses += 1
                else:
                    self._entries.move_to_end(key)
                    self.num_hits += 1
                    found[key] = entry[0]
        return found

    def put(self, key: K, value: V, size_bytes: int) -> None:
        with self._lock:
            if key in self._entries:
                self.size_bytes -= self._entries.pop(key)[1]
            self._entries[key] = (value, size_bytes)
            self.size_bytes += size_bytes
            while self.size_bytes > self.max_bytes:
                _, (_, dropped_bytes) = self._entries.popitem(last=False)
                self.size_bytes -= dropped_bytes

    def __len__(self) -> int:
        return len(self._entries)
