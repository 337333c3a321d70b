"""The matrix of adapters: slots, what finds no room, and what gives its slot away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from paaplus.scoring.adapters import Adapter, Bottleneck, TasteVector
from paaplus.services.predictions import adapter_matrix
from paaplus.services.predictions.adapter_matrix import IDLE_S, AdapterMatrix, ReadVersion, Scored
from paaplus.services.predictions.user_pages import ID, NO_VERSION

R, A = 8, 2
TASTE_R = np.random.default_rng(1).normal(size=R).astype(np.float32)
GENERIC_A = np.array([4.0, 6.0], np.float32)


class Shelf:
    """Versions by id, and which of them were read."""

    def __init__(self, num: int) -> None:
        rng = np.random.default_rng(0)

        def normal(*shape: int) -> np.ndarray:
            return rng.normal(size=shape).astype(np.float32)

        self.versions: dict[str, ReadVersion] = {}
        for n in range(num):
            adapter: Adapter | None = TasteVector("base", 1 + 0.1 * normal(A), normal(A), normal(R, A))
            if n % 5 == 3:
                adapter = Bottleneck("base", 1 + 0.1 * normal(A), normal(A), normal(R, 4), normal(4), normal(4, A))
            if n % 5 == 4:
                adapter = None  # of another base model
            self.versions[f"v{n}"] = ReadVersion(f"v{n}".encode(), n + 1, adapter)
        self.read: list[str] = []

    def reads(self, versions: Sequence[bytes]) -> Iterator[ReadVersion]:
        names = [version.decode() for version in versions]
        self.read += names
        yield from (self.versions[name] for name in names if name in self.versions)

    def expected(self, version: str | None) -> bytes:
        adapter = self.versions[version].adapter if version is not None else None
        return (GENERIC_A if adapter is None else adapter.score(TASTE_R[None], GENERIC_A[None])[0]).tobytes()


def score(matrix: AdapterMatrix, shelf: Shelf, versions: Sequence[str | None]) -> Scored:
    ids = [NO_VERSION if version is None else version.encode() for version in versions]
    return matrix.score(np.array(ids, ID), TASTE_R, GENERIC_A, shelf.reads)


def check(matrix: AdapterMatrix, shelf: Shelf, versions: Sequence[str | None]) -> None:
    found = score(matrix, shelf, versions)
    for n, version in enumerate(versions):
        assert found.score_NA[n].tobytes() == shelf.expected(version), version
        is_personal = version is not None and shelf.versions[version].adapter is not None
        assert found.number_N[n] == (shelf.versions[version].number if is_personal and version else 0)


@pytest.mark.parametrize("max_bytes", [0, 3_000, 10**6])
@pytest.mark.parametrize("chunk", [4, 4_096])
def test_scores_have_the_bits_of_each_adapter_with_and_without_room(
    monkeypatch: pytest.MonkeyPatch, max_bytes: int, chunk: int
) -> None:
    monkeypatch.setattr(adapter_matrix, "CHUNK", chunk)
    monkeypatch.setattr(adapter_matrix, "READ_AT_ONCE", 3)
    shelf = Shelf(40)
    matrix = AdapterMatrix(A, R, max_bytes)
    rng = np.random.default_rng(2)
    for _ in range(6):
        chosen: list[str | None] = [f"v{n}" if n < 40 else None for n in rng.integers(0, 44, size=30)]
        check(matrix, shelf, chosen)
        assert matrix.size_bytes <= max_bytes


def test_what_has_a_slot_is_not_read_again() -> None:
    shelf, matrix = Shelf(10), AdapterMatrix(A, R, 10**6)
    everything = [*shelf.versions]
    check(matrix, shelf, everything)
    assert (matrix.num_hits, matrix.num_misses, sorted(shelf.read)) == (0, 10, sorted(everything))
    shelf.read.clear()
    check(matrix, shelf, everything)
    bottlenecks = ["v3", "v8"]
    assert sorted(shelf.read) == bottlenecks, "only what is no taste vector"
    assert (matrix.num_hits, matrix.num_misses) == (8, 12)


def test_a_slot_is_given_away_only_when_its_version_is_idle() -> None:
    shelf, now = Shelf(3), [0.0]
    one = AdapterMatrix(A, R, 10**6)._slot_bytes
    matrix = AdapterMatrix(A, R, 2 * one, clock=lambda: now[0])
    check(matrix, shelf, ["v0", "v1"])
    check(matrix, shelf, ["v2"])
    assert len(matrix) == 2, "there is no room"
    now[0] = IDLE_S - 1
    check(matrix, shelf, ["v0"])
    now[0] = IDLE_S + 1
    shelf.read.clear()
    check(matrix, shelf, ["v2"])
    check(matrix, shelf, ["v0", "v2"])
    assert shelf.read == ["v2"], "v1 was idle, v0 was not"
    check(matrix, shelf, ["v1"])
    assert shelf.read == ["v2", "v1"]


def test_damaged_and_vanished_versions_are_told_by_place() -> None:
    shelf, matrix = Shelf(3), AdapterMatrix(A, R, 10**6)
    shelf.versions["v1"] = ReadVersion(b"v1", 2, None, "its bytes have changed")
    found = score(matrix, shelf, ["v0", "v1", "gone", "v1", None])
    assert (found.damaged, found.gone) == ({1: "its bytes have changed", 3: "its bytes have changed"}, [2])
    shelf.versions["v1"] = ReadVersion(b"v1", 2, shelf.versions["v0"].adapter)
    assert score(matrix, shelf, ["v1"]).damaged == {}, "damage is not remembered"
