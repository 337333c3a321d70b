"""Adapters as served: what bends generic scores to one person. NumPy only.

`score = clip(alpha * generic + beta + delta(taste), 0, 10)`; every kind starts at zero change.
Shape letters: B = items, R = taste space dim, A = aspects, H = bottleneck rank.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Self

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.records import SCORE_MAX, SCORE_MIN
from paaplus.scoring.rows import rowwise_matmul
from paaplus.scoring.tensors import digest, pack, unpack


@dataclass(frozen=True)
class Adapter:
    """One user's parameters. Arrays are float32; `base_digest` names the only base model it fits."""

    kind: ClassVar[str] = ""

    base_digest: str
    alpha_A: np.ndarray
    beta_A: np.ndarray

    def delta(self, taste_BR: np.ndarray) -> np.ndarray:
        """What is added to the (affinely corrected) generic score, shape (B, A), float64."""
        raise NotImplementedError

    def score(self, taste_BR: np.ndarray, generic_BA: np.ndarray) -> np.ndarray:
        """Personal scores, shape (B, A), float32. Row b depends on row b only, bit for bit."""
        bent_BA = self.alpha_A.astype(np.float64) * generic_BA.astype(np.float64) + self.beta_A + self.delta(taste_BR)
        return np.clip(bent_BA, SCORE_MIN, SCORE_MAX).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "base_digest"}

    def is_finite(self) -> bool:
        return all(bool(np.isfinite(array).all()) for array in self.arrays().values())

    def to_bytes(self) -> bytes:
        return pack(self.arrays(), {"format": "adapter-1", "kind": self.kind, "base_digest": self.base_digest})

    @property
    def digest(self) -> str:
        return digest(self.to_bytes())

    @classmethod
    def zero(cls, base_digest: str, taste_dim: int, num_aspects: int) -> Self:
        """The adapter that changes nothing."""
        raise NotImplementedError


@dataclass(frozen=True)
class TasteVector(Adapter):
    """Linear in taste space: R numbers an aspect, plus a slope and an offset."""

    kind: ClassVar[str] = "taste_vector"

    weight_RA: np.ndarray

    def delta(self, taste_BR: np.ndarray) -> np.ndarray:
        return rowwise_matmul(taste_BR, self.weight_RA)

    @classmethod
    def zero(cls, base_digest: str, taste_dim: int, num_aspects: int) -> Self:
        return cls(
            base_digest,
            np.ones(num_aspects, np.float32),
            np.zeros(num_aspects, np.float32),
            np.zeros((taste_dim, num_aspects), np.float32),
        )


@dataclass(frozen=True)
class Bottleneck(Adapter):
    """A residual low-rank MLP: `tanh(taste @ down + bias) @ up`."""

    kind: ClassVar[str] = "bottleneck"

    down_RH: np.ndarray
    bias_H: np.ndarray
    up_HA: np.ndarray

    def delta(self, taste_BR: np.ndarray) -> np.ndarray:
        hidden_BH = np.tanh(rowwise_matmul(taste_BR, self.down_RH) + self.bias_H)
        return rowwise_matmul(hidden_BH, self.up_HA)

    @classmethod
    def zero(cls, base_digest: str, taste_dim: int, num_aspects: int, rank: int = 16) -> Self:
        return cls(
            base_digest,
            np.ones(num_aspects, np.float32),
            np.zeros(num_aspects, np.float32),
            np.zeros((taste_dim, rank), np.float32),
            np.zeros(rank, np.float32),
            np.zeros((rank, num_aspects), np.float32),
        )


ADAPTERS: dict[str, type[Adapter]] = {"taste_vector": TasteVector, "bottleneck": Bottleneck}


def adapter_from_bytes(data: bytes) -> Adapter:
    """The adapter that `Adapter.to_bytes` wrote.

    Raises:
        InvalidInput: not such bytes, an unknown kind, missing arrays, wrong shapes, or numbers that are not finite.
    """
    arrays, metadata = unpack(data)
    if metadata.get("format") != "adapter-1" or metadata.get("kind") not in ADAPTERS:
        raise InvalidInput(f"not an adapter: format {metadata.get('format')!r}, kind {metadata.get('kind')!r}")
    kind = ADAPTERS[str(metadata["kind"])]
    expected = {f.name for f in fields(kind)} - {"base_digest"}
    if set(arrays) != expected:
        raise InvalidInput(f"adapter of kind {kind.kind} needs arrays {sorted(expected)}, got {sorted(arrays)}")
    adapter = kind(base_digest=str(metadata["base_digest"]), **arrays)
    _check_shapes(adapter)
    return adapter


def _check_shapes(adapter: Adapter) -> None:
    sizes: dict[str, int] = {}
    for name, array in adapter.arrays().items():
        letters = name.rsplit("_", 1)[1]
        if array.dtype != np.float32 or array.ndim != len(letters):
            raise InvalidInput(f"adapter array {name}: dtype {array.dtype}, shape {array.shape}")
        for letter, size in zip(letters, array.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise InvalidInput(f"adapter array {name}: {letter} is {size} here and {sizes[letter]} elsewhere")
    if not adapter.is_finite():
        raise InvalidInput("adapter with numbers that are not finite")
