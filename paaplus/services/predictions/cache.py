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
        wanted = list(keys)
        return {key: value for key, value in zip(wanted, self.get_each(wanted), strict=True) if value is not None}

    def get_each(self, keys: Iterable[K]) -> list[V | None]:
        """The entry of each key, in order; None: it is not in the cache."""
        found: list[V | None] = []
        num_hits = 0
        get, use, add = self._entries.get, self._entries.move_to_end, found.append
        with self._lock:
            for key in keys:
                entry = get(key)
                if entry is None:
                    add(None)
                    continue
                use(key)
                num_hits += 1
                add(entry[0])
            self.num_misses += len(found) - num_hits
            self.num_hits += num_hits
        return found

    def put(self, key: K, value: V, size_bytes: int) -> None:
        with self._lock:
            if key in self._entries:
                self.size_bytes -= self._entries.pop(key)[1]
            self._entries[key] = (value, size_bytes)
            self.size_bytes += size_bytes
            self._drop_what_is_too_much()

    def shrink(self, max_bytes: int) -> None:
        """Set another bound."""
        with self._lock:
            self.max_bytes = max_bytes
            self._drop_what_is_too_much()

    def _drop_what_is_too_much(self) -> None:
        while self.size_bytes > self.max_bytes:
            _, (_, dropped_bytes) = self._entries.popitem(last=False)
            self.size_bytes -= dropped_bytes

    def __len__(self) -> int:
        return len(self._entries)
