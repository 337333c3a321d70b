"""Evidence of long logs that a process has measured, by digests of exactly what it depends on.

A miss costs time only: what is not known is measured again, and is equal up to rounding.

Shape letters: P = regressors, M = directions, W = windows, X = those of them that are not known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Protocol

import numpy as np

from paaplus.gate.window_products import BlockSums

_KEY_BYTES: Final = 200  # of a digest and a number in a dictionary


@dataclass(frozen=True, eq=False, slots=True)
class KnownEvidence:
    """What is known of one aspect's ratings, or comparisons, in some directions.

    Attributes:
        direction_PM: what takes regressors to rows in these directions.
        windows: the evidence, by the digest of what is in a window.
        sums: by the digest of what is in a block; of ratings only.
    """

    direction_PM: np.ndarray
    windows: Mapping[bytes, float] = field(default_factory=dict)
    sums: Mapping[bytes, BlockSums] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        of_sums = sum(sums.num_bytes for sums in self.sums.values())
        return self.direction_PM.nbytes + of_sums + _KEY_BYTES * (len(self.sums) + len(self.windows))


class EvidenceMemory(Protocol):
    """Keeps what is known of the logs that were judged last."""

    def get(self, basis: bytes) -> KnownEvidence | None:
        """What is known in the directions of this digest."""

    def put(self, basis: bytes, known: KnownEvidence) -> None:
        """Replace what is known in these directions."""


def digest(arrays: Iterable[np.ndarray]) -> bytes:
    """Of the arrays' numbers, types and shapes."""
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(f"{array.dtype.str}{array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).data)
    return hashed.digest()


def content_before(columns: Sequence[np.ndarray], cell_X: np.ndarray, start_B: np.ndarray) -> np.ndarray:
    """What is in the rows before each block, as sums of digests: the difference of two tells what is between them.

    Args:
        columns: of rows (X, ...) in order.
        cell_X: rows of one cell are digested together. No block begins within a cell.
        start_B: the first row of every block, and the number of rows.

    Returns:
        uint64, shape (B, 4); sums wrap around.
    """
    first_I = np.flatnonzero(np.diff(cell_X, prepend=-1))
    ends = [*first_I[1:].tolist(), len(cell_X)]
    cells = [digest(column[first:end] for column in columns) for first, end in zip(first_I.tolist(), ends, strict=True)]
    digest_I4 = np.frombuffer(b"".join(cells), np.uint64).reshape(-1, 4)
    before_I4 = np.concatenate([np.zeros((1, 4), np.uint64), np.cumsum(digest_I4, axis=0, dtype=np.uint64)])
    return np.asarray(before_I4[np.searchsorted(first_I, start_B)])


class KnownWindows:
    """The evidence of windows of a long log's ratings or comparisons, as far as a process knows it.

    Args:
        basis: a digest of all that the evidence depends on beside what is in the windows.
        before_B4: what is in the rows before each block, see `content_before`.
        memory: where the process keeps it; None: nowhere.
    """

    def __init__(self, basis: bytes, before_B4: np.ndarray, memory: EvidenceMemory | None) -> None:
        self._basis, self._before_B4, self._memory = basis, before_B4, memory
        self.known = memory.get(basis) if memory is not None else None

    def unknown(self, window_W2: np.ndarray) -> np.ndarray:
        """Mask of the windows whose evidence is not known."""
        if self.known is None:
            return np.ones(len(window_W2), np.bool_)
        return np.array([key not in self.known.windows for key in self._keys_of(window_W2)], np.bool_)

    def sums(self) -> list[BlockSums | None]:
        """Those of each block; None: they are not known."""
        known = self.known.sums if self.known is not None else {}
        return [known.get(key) for key in self._block_keys]

    def with_known(
        self,
        window_W2: np.ndarray,
        measured_X: np.ndarray,
        direction_PM: np.ndarray,
        sums_B: Sequence[BlockSums] = (),
    ) -> np.ndarray:
        """The evidence of all windows, given that of those that were not known. The process keeps it from now on."""
        keys = self._keys_of(window_W2)
        known = dict(self.known.windows) if self.known is not None else {}
        new = [key for key, is_new in zip(keys, self.unknown(window_W2), strict=True) if is_new]
        known.update(zip(new, measured_X.tolist(), strict=True))
        if self._memory is not None:
            sums = dict(zip(self._block_keys, sums_B, strict=True)) if sums_B else {}
            self._memory.put(self._basis, KnownEvidence(direction_PM, {key: known[key] for key in keys}, sums))
        return np.array([known[key] for key in keys])

    def _keys_of(self, window_W2: np.ndarray) -> list[bytes]:
        start_W, end_W = window_W2.T
        content = (self._before_B4[end_W] - self._before_B4[start_W]).tobytes()
        return [content[first : first + 32] for first in range(0, len(content), 32)]

    @cached_property
    def _block_keys(self) -> list[bytes]:
        num_blocks = len(self._before_B4) - 1
        return self._keys_of(np.column_stack([np.arange(num_blocks), np.arange(1, num_blocks + 1)]))
