from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest

from paaplus.errors import InvalidInput, Unavailable
from paaplus.services.registry.artifacts import LoadedOnce, parsed


@dataclass(frozen=True)
class Named:
    digest: str


def named(data: bytes) -> Named:
    if not data:
        raise InvalidInput("no bytes")
    return Named(data.decode())


def test_what_many_ask_for_at_once_is_loaded_once() -> None:
    memory: LoadedOnce[Named] = LoadedOnce(2)
    loads, found = [], []

    def load() -> Named:
        loads.append(threading.get_ident())
        return Named("a")

    threads = [threading.Thread(target=lambda: found.append(memory.get("a", load))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len(found) == 8
    assert all(one is found[0] for one in found)


def test_what_was_used_last_is_kept() -> None:
    memory: LoadedOnce[Named] = LoadedOnce(2)
    for digest in ("a", "b", "a", "c"):
        memory.get(digest, lambda digest=digest: Named(digest))  # type: ignore[misc]
    assert memory.digests() == ["a", "c"]
    memory.forget(["a", "unknown"])
    assert memory.digests() == ["c"]


def test_what_cannot_be_loaded_is_asked_for_again() -> None:
    memory: LoadedOnce[Named] = LoadedOnce(2)

    def fail() -> Named:
        raise Unavailable("storage is away")

    with pytest.raises(Unavailable, match="away"):
        memory.get("a", fail)
    assert memory.get("a", lambda: Named("a")) == Named("a")


def test_bytes_that_are_none_or_another_artifact_are_unavailable() -> None:
    assert parsed("prior 1", named, b"abc", "abc") == Named("abc")
    with pytest.raises(Unavailable, match="prior 1 cannot be read: no bytes"):
        parsed("prior 1", named, b"", "abc")
    with pytest.raises(Unavailable, match="prior 1: digest abd, registered was abc"):
        parsed("prior 1", named, b"abd", "abc")
