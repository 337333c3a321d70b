"""What was registered under a digest: loaded once per process, and checked to be what it was."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from paaplus.errors import InvalidInput, Unavailable


class Artifact(Protocol):
    """A thing with a digest of its content."""

    @property
    def digest(self) -> str: ...


A = TypeVar("A", bound=Artifact)
V = TypeVar("V")


class LoadedOnce(Generic[V]):
    """A process's memory of artifacts by digest: the `num_kept` that were used last."""

    def __init__(self, num_kept: int) -> None:
        self.num_kept = num_kept
        self._loaded: OrderedDict[str, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str, load: Callable[[], V]) -> V:
        """From memory, or else as `load` gives it; others wait meanwhile, so that nothing is loaded twice."""
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
        """What is in memory, the latest used last."""
        with self._lock:
            return list(self._loaded)


def parsed(what: str, parse: Callable[[bytes], A], data: bytes, digest: str) -> A:
    """The artifact that the bytes are.

    Args:
        what: its name, for the error.
        parse: raises InvalidInput for bytes that are none.
        data: the bytes.
        digest: that was registered.

    Raises:
        Unavailable: they are none, or another one.
    """
    try:
        artifact = parse(data)
    except InvalidInput as error:  # ours to keep readable, not the caller's to repair
        raise Unavailable(f"{what} cannot be read: {error}") from error
    if artifact.digest != digest:
        raise Unavailable(f"{what}: digest {artifact.digest}, registered was {digest}")
    return artifact
