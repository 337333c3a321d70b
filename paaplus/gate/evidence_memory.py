"""Evidence of long logs that a process has measured, by fingerprints of exactly what it depends on.

A miss costs time only: what is not known is measured again, and is equal up to rounding.

Shape letters: P = regressors, M = directions, W = windows, X = those of them that are not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        windows: the evidence, by what is in a window.
        sums: by what is in a block; of ratings only.
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
        """What is known, where everything else is as this says."""

    def put(self, basis: bytes, known: KnownEvidence) -> None:
        """Replace what is known there."""


class KnownWindows:
    """The evidence of windows of a long log's ratings or comparisons, as far as a process knows it.

    Args:
        basis: a fingerprint of all that the evidence depends on beside the rows in the windows.
        fingerprint_X2: of the rows, see `fingerprints`.
        start_B: the first row of every block, and the number of rows; one more than blocks.
        memory: where the process keeps it; None: nowhere.
    """

    def __init__(
        self, basis: bytes, fingerprint_X2: np.ndarray, start_B: np.ndarray, memory: EvidenceMemory | None
    ) -> None:
        self._basis, self._memory = basis, memory
        before_X2 = np.concatenate([np.zeros((1, 2), np.uint64), np.cumsum(fingerprint_X2, axis=0, dtype=np.uint64)])
        self._before_B2 = before_X2[start_B]
        self.known = memory.get(basis) if memory is not None else None
        self._asked: tuple[np.ndarray, list[bytes]] | None = None

    def unknown(self, window_W2: np.ndarray) -> np.ndarray:
        """Mask of the windows whose evidence is not known."""
        if self.known is None:
            return np.ones(len(window_W2), np.bool_)
        windows = self.known.windows
        return np.array([key not in windows for key in self._keys(window_W2)], np.bool_)

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
        keys = self._keys(window_W2)
        known = dict(self.known.windows) if self.known is not None else {}
        new = [key for key in keys if key not in known]
        known.update(zip(new, measured_X.tolist(), strict=True))
        if self._memory is not None:
            sums = dict(zip(self._block_keys, sums_B, strict=True)) if sums_B else {}
            self._memory.put(self._basis, KnownEvidence(direction_PM, {key: known[key] for key in keys}, sums))
        return np.array([known[key] for key in keys])

    def _keys(self, window_W2: np.ndarray) -> list[bytes]:
        """As `_keys_of`; those of the same windows are asked for twice."""
        if self._asked is None or self._asked[0] is not window_W2:
            self._asked = window_W2, self._keys_of(window_W2)
        return self._asked[1]

    def _keys_of(self, window_W2: np.ndarray) -> list[bytes]:
        start_W, end_W = window_W2.T
        content = (self._before_B2[end_W] - self._before_B2[start_W]).tobytes()
        return [content[first : first + 16] for first in range(0, len(content), 16)]

    @cached_property
    def _block_keys(self) -> list[bytes]:
        num_blocks = len(self._before_B2) - 1
        return self._keys_of(np.column_stack([np.arange(num_blocks), np.arange(1, num_blocks + 1)]))
