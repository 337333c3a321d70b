"""Adapters as served: one user's corrections of the generic scores. NumPy only.

`score = clip(alpha * generic + beta + delta(taste), 0, 10)`; every kind starts at zero change, which gives the generic
score.
Shape letters: B = items, R = taste space dim, A = aspects, H = bottleneck rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from typing import Any, ClassVar, Self

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.records import SCORE_MAX, SCORE_MIN
from paaplus.scoring.rows import rowwise_matmul
from paaplus.scoring.tensors import check_names, digest, float32_numbers, pack, unpack

Product = Callable[[np.ndarray, np.ndarray], np.ndarray]
MAX_NUMBERS = 1000  # in a taste vector: all aspects and its uncertainty together
_NOT_ARRAYS = ("base_digest", "uncertainty")


def _matmul(x_BD: np.ndarray, weight_DR: np.ndarray) -> np.ndarray:
    return np.asarray(x_BD.astype(np.float64) @ weight_DR.astype(np.float64))


@dataclass(frozen=True)
class Adapter:
    """One user's parameters. Arrays are float32; `base_digest` names the only base model it fits."""

    kind: ClassVar[str] = ""

    base_digest: str
    alpha_A: np.ndarray
    beta_A: np.ndarray

    def delta(self, taste_BR: np.ndarray, product: Product = rowwise_matmul) -> np.ndarray:
        """What is added to `alpha * generic + beta`, in score points, shape (B, A), float64."""
        raise NotImplementedError

    def score(self, taste_BR: np.ndarray, generic_BA: np.ndarray) -> np.ndarray:
        """Personal scores, 0-10, shape (B, A), float32. A row is bit-identical in any batch.

        Args:
            taste_BR: the items in taste space.
            generic_BA: their generic scores.
        """
        return self._scores(generic_BA, self.delta(taste_BR))

    def score_together(self, taste_BR: np.ndarray, generic_BA: np.ndarray) -> np.ndarray:
        """As `score`, for what nobody is served: ten times as fast, but a row's last bits depend on the others."""
        return self._scores(generic_BA, self.delta(taste_BR, _matmul))

    def _scores(self, generic_BA: np.ndarray, delta_BA: np.ndarray) -> np.ndarray:
        corrected_BA = self.alpha_A.astype(np.float64) * generic_BA.astype(np.float64) + self.beta_A + delta_BA
        return np.clip(corrected_BA, SCORE_MIN, SCORE_MAX).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """All parameters, by name, float32."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_ARRAYS}

    def is_finite(self) -> bool:
        return all(bool(np.isfinite(array).all()) for array in self.arrays().values())

    def metadata(self) -> dict[str, object]:
        return {"format": "adapter-1", "kind": self.kind, "base_digest": self.base_digest}

    def to_bytes(self) -> bytes:
        return pack(self.arrays(), self.metadata())

    @property
    def digest(self) -> str:
        return digest(self.to_bytes())

    @classmethod
    def zero(cls, base_digest: str, taste_dim: int, num_aspects: int) -> Self:
        """The adapter whose scores are the generic scores."""
        raise NotImplementedError


@dataclass(frozen=True)
class Uncertainty:
    """Posterior variance of a taste vector, in the coordinates of the taste prior that it was fitted with.

        variance of a score  = variance_scale * (|c|^2 - |c @ reduction|^2)
        variance of a rating = variance of the score + rating_noise_sd^2

    with `c` the image's coordinates (`Prior.coordinates`). Feedback reduces the variance along M directions, so an
    image that resembles rated images has a low variance.

    Shape letters: K = leading coordinates of the prior, M = directions with reduced variance.
    """

    prior_digest: str | None  # None: the base model's own prior
    reduction_KMA: np.ndarray
    variance_scale_A: np.ndarray
    rating_noise_sd_A: np.ndarray

    def score_variance(self, coordinate_BK: np.ndarray, aspect: int) -> np.ndarray:
        """Variance of each image's personal score, shape (B,), float64. A row is bit-identical in any batch.

        Args:
            coordinate_BK: all coordinates of the images. Those beyond the first K have their prior variance.
            aspect: index of the aspect.
        """
        num_kept = len(self.reduction_KMA)
        reduced_BM = rowwise_matmul(coordinate_BK[:, :num_kept], self.reduction_KMA[:, :, aspect])
        variance_B = np.array([row_K @ row_K for row_K in coordinate_BK.astype(np.float64)])
        variance_B -= np.array([row_M @ row_M for row_M in reduced_BM])
        return np.maximum(variance_B, 0.0) * float(self.variance_scale_A[aspect])


@dataclass(frozen=True)
class TasteVector(Adapter):
    """An adapter that is linear in taste space. The closed form (`bayes`) gives it an uncertainty."""

    kind: ClassVar[str] = "taste_vector"

    weight_RA: np.ndarray
    uncertainty: Uncertainty | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        if self.uncertainty is None:
            return super().arrays()
        return super().arrays() | {name: getattr(self.uncertainty, name) for name in _UNCERTAINTY_ARRAYS}

    def metadata(self) -> dict[str, object]:
        if self.uncertainty is None:
            return super().metadata()
        return super().metadata() | {"prior_digest": self.uncertainty.prior_digest}

    def delta(self, taste_BR: np.ndarray, product: Product = rowwise_matmul) -> np.ndarray:
        return product(taste_BR, self.weight_RA)

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
    """An adapter with one hidden layer of low rank: `delta = tanh(taste @ down + bias) @ up`."""

    kind: ClassVar[str] = "bottleneck"

    down_RH: np.ndarray
    bias_H: np.ndarray
    up_HA: np.ndarray

    def delta(self, taste_BR: np.ndarray, product: Product = rowwise_matmul) -> np.ndarray:
        hidden_BH = np.tanh(product(taste_BR, self.down_RH) + self.bias_H)
        return product(hidden_BH, self.up_HA)

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


_UNCERTAINTY_ARRAYS = tuple(f.name for f in fields(Uncertainty) if f.name != "prior_digest")

ADAPTERS: dict[str, type[Adapter]] = {"taste_vector": TasteVector, "bottleneck": Bottleneck}


def adapter_from_bytes(data: bytes) -> Adapter:
    """The adapter that `Adapter.to_bytes` wrote.

    Raises:
        InvalidInput: not such bytes, an unknown kind, missing arrays, wrong shapes, or numbers that are not finite.
    """
    arrays, metadata = unpack(data)
    name, base_digest = metadata.get("kind"), metadata.get("base_digest")
    if metadata.get("format") != "adapter-1" or not isinstance(name, str) or name not in ADAPTERS:
        raise InvalidInput(f"not an adapter: format {metadata.get('format')!r:.64}, kind {name!r:.64}")
    if not isinstance(base_digest, str):
        raise InvalidInput(f"an adapter without the digest of its base model: {base_digest!r:.64}")
    kind = ADAPTERS[name]
    has_uncertainty = kind is TasteVector and "prior_digest" in metadata
    check_names(f"adapter of kind {name}", arrays.keys(), _expected_arrays(name, has_uncertainty))
    _check_forms(tuple([(name, array.dtype, array.shape) for name, array in arrays.items()]))
    if not np.isfinite(float32_numbers(data)).all():
        wrong = [name for name, array in arrays.items() if not np.isfinite(array).all()]
        raise InvalidInput(f"adapter arrays {wrong}: numbers that are not finite")
    options: dict[str, Any] = {}
    if has_uncertainty:
        prior_digest = metadata["prior_digest"]
        if not (prior_digest is None or isinstance(prior_digest, str)):
            raise InvalidInput(f"an adapter with prior digest {prior_digest!r:.64}")
        options["uncertainty"] = Uncertainty(prior_digest, **{name: arrays.pop(name) for name in _UNCERTAINTY_ARRAYS})
    return kind(base_digest=base_digest, **arrays, **options)


@cache
def _expected_arrays(kind: str, has_uncertainty: bool) -> frozenset[str]:
    expected = {f.name for f in fields(ADAPTERS[kind])} - set(_NOT_ARRAYS)
    return frozenset(expected | set(_UNCERTAINTY_ARRAYS if has_uncertainty else ()))


@lru_cache(128)  # adapters of one base model have the same forms
def _check_forms(forms: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]) -> None:
    """Check names, dtypes and shapes of arrays against each other."""
    sizes: dict[str, int] = {}
    for name, dtype, shape in forms:
        letters = name.rsplit("_", 1)[1]
        if dtype != np.float32 or len(shape) != len(letters):
            raise InvalidInput(f"adapter array {name}: dtype {dtype}, shape {shape}")
        for letter, size in zip(letters, shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise InvalidInput(f"adapter array {name}: {letter} is {size} here and {sizes[letter]} elsewhere")
