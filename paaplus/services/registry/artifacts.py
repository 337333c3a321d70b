"""Artifacts by digest: loaded once per process, and checked against their digest."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from paaplus.errors import InvalidInput, Unavailable


class Artifact(Protocol):
    """A value with a digest of its content."""

    @property
    def digest(self) -> str: ...


A = TypeVar("A", bound=Artifact)
V = TypeVar("V")


class LoadedOnce(Generic[V]):
    """A cache of artifacts by digest: keeps the `num_kept` most recently used."""

    def __init__(self, num_kept: int) -> None:
        self.num_kept = num_kept
        self._loaded: OrderedDict[str, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str, load: Callable[[], V]) -> V:
        """The cached artifact, or else what `load` returns. Other threads wait, so that nothing is loaded twice."""
        with self._lock:
            if digest not in self._loaded:
                self._loaded[digest] = load()
                if len(self._loaded) > self.num_kept:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(digest)
            return self._loaded[digest]

    def forget(self, digests: Iterable[str]) -> None:
        with self._lock:
            for digest in digests:
                self._loaded.pop(digest, None)

    def clear(self) -> None:
        with self._lock:
            self._loaded.clear()

    def digests(self) -> list[str]:
        """Digests of the cached artifacts, the most recently used last."""
        with self._lock:
            return list(self._loaded)


def parsed(what: str, parse: Callable[[bytes], A], data: bytes, digest: str) -> A:
    """Parse an artifact's bytes and check its digest.

    Args:
        what: the artifact's name, for the error.
        parse: the parser; raises InvalidInput for invalid bytes.
        data: the bytes.
        digest: the registered digest.

    Raises:
        Unavailable: the bytes are invalid, or are another artifact.
    """
    try:
        artifact = parse(data)
    except InvalidInput as error:  # the platform's data, not the caller's input
        raise Unavailable(f"{what} cannot be read: {error}") from error
    if artifact.digest != digest:
        raise Unavailable(f"{what}: digest {artifact.digest}, registered was {digest}")
    return artifact
