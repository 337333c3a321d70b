"""Taste priors: the distribution of a user's weights before any feedback. NumPy only.

A user's rating of an image is modelled as

    generic + design @ weight + noise,    design = [1, generic - middle of the scale, taste],

where `weight` (offset, slope and taste weights) is `mean + factor @ w` with `w` standard normal; the noise is normal.

Shape letters: B = items, R = taste space dim, P = R + 2 regressors, K = coordinates of the prior, A = aspects.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.ids import sha256_hex
from paaplus.records import SCORE_MAX, SCORE_MIN
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.rows import rowwise_matmul
from paaplus.scoring.tensors import digest, pack, unpack

# Offset and slope refer to the middle of the scale, where their priors are independent.
SCORE_CENTER = (SCORE_MIN + SCORE_MAX) / 2

_FORMAT = "taste-prior-1"
_HEAD_FORMAT = "head-prior-1"
_HEAD_WIDTH = 2.0  # factor of the standard deviations, measured on train people, docs/decisions/0020
_HEAD_OFFSET_SD = (SCORE_MAX - SCORE_MIN) / 4  # a user's mean rating may be anywhere on the scale


class Prior(Protocol):
    """A Gaussian prior over weights, fitted or fixed."""

    @property
    def digest(self) -> str | None:
        """Digest of a fitted prior; None: the base model's own."""

    @property
    def num_coordinates(self) -> int: ...

    @property
    def noise_sd_A(self) -> np.ndarray: ...

    def fits(self, base: BaseScorer) -> bool:
        """True if the prior is of this base model."""

    def mean(self, aspect: int) -> np.ndarray:
        """Mean weights, shape (P,), float64."""

    def coordinates(self, design_BP: np.ndarray, aspect: int) -> np.ndarray:
        """The regressors of `w`, shape (B, K), float64. A row is bit-identical in any batch."""

    def coordinates_together(self, design_NP: np.ndarray, aspect: int) -> np.ndarray:
        """The same for training, as one product: a row's last bits may depend on the other rows."""

    def weights(self, coordinate_K: np.ndarray, aspect: int) -> np.ndarray:
        """`mean + factor @ w`, shape (P,), float64."""


def design(taste_BR: np.ndarray, generic_B: np.ndarray) -> np.ndarray:
    """`[1, generic - center, taste]`, shape (B, P), float64."""
    design_BP = np.empty((len(taste_BR), taste_BR.shape[1] + 2))
    design_BP[:, 0] = 1.0
    design_BP[:, 1] = generic_B
    design_BP[:, 1] -= SCORE_CENTER
    design_BP[:, 2:] = taste_BR
    return design_BP


@dataclass(frozen=True, eq=False)
class OwnPrior:
    """The base model's own prior: offset, slope and every taste weight independent, with mean 0."""

    base: BaseScorer
    digest = None

    @property
    def num_coordinates(self) -> int:
        return self.base.taste_dim + 2

    @property
    def noise_sd_A(self) -> np.ndarray:
        return self.base.noise_sd_A

    def fits(self, base: BaseScorer) -> bool:
        return self.base.digest == base.digest

    def mean(self, aspect: int) -> np.ndarray:
        return np.zeros(self.num_coordinates)

    def coordinates(self, design_BP: np.ndarray, aspect: int) -> np.ndarray:
        return design_BP * self._sd_PA[:, aspect]

    coordinates_together = coordinates

    def weights(self, coordinate_K: np.ndarray, aspect: int) -> np.ndarray:
        return coordinate_K * self._sd_PA[:, aspect]

    @cached_property
    def _sd_PA(self) -> np.ndarray:
        sd_PA = np.empty((self.num_coordinates, len(self.base.aspects)))
        sd_PA[0], sd_PA[1], sd_PA[2:] = self.base.offset_sd_A, self.base.slope_sd_A, self.base.prior_sd_A
        return sd_PA


@dataclass(frozen=True, eq=False)
class TastePrior:
    """A prior that was fitted to many people's ratings: mean and covariance of their weights.

    Raises:
        InvalidInput: arrays whose shapes do not fit together, or numbers that are not finite.
    """

    base_digest: str
    mean_PA: np.ndarray
    factor_PKA: np.ndarray
    noise_sd_A: np.ndarray

    def __post_init__(self) -> None:
        num_regressors, _, num_aspects = self.factor_PKA.shape if self.factor_PKA.ndim == 3 else (0, 0, 0)
        if self.mean_PA.shape != (num_regressors, num_aspects) or self.noise_sd_A.shape != (num_aspects,):
            raise InvalidInput(
                f"taste prior with mean {self.mean_PA.shape}, factor {self.factor_PKA.shape}, "
                f"noise {self.noise_sd_A.shape}"
            )
        for name in ("mean_PA", "factor_PKA", "noise_sd_A"):
            array = getattr(self, name)
            if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
                raise InvalidInput(f"taste prior array {name}: {array.dtype}, or numbers that are not finite")
        if (self.noise_sd_A <= 0).any():
            raise InvalidInput(f"taste prior with noise sds {self.noise_sd_A}: above 0")

    @property
    def num_coordinates(self) -> int:
        return int(self.factor_PKA.shape[1])

    def mean(self, aspect: int) -> np.ndarray:
        return self.mean_PA[:, aspect].astype(np.float64)

    def coordinates(self, design_BP: np.ndarray, aspect: int) -> np.ndarray:
        return rowwise_matmul(design_BP, self._factor_APK[aspect])

    def coordinates_together(self, design_NP: np.ndarray, aspect: int) -> np.ndarray:
        return design_NP @ self._factor_APK[aspect]

    def weights(self, coordinate_K: np.ndarray, aspect: int) -> np.ndarray:
        return self.mean(aspect) + self._factor_APK[aspect] @ coordinate_K

    def fits(self, base: BaseScorer) -> bool:
        return self.base_digest == base.digest and self.mean_PA.shape == (base.taste_dim + 2, len(base.aspects))

    def to_bytes(self) -> bytes:
        arrays = {name: getattr(self, name) for name in ("mean_PA", "factor_PKA", "noise_sd_A")}
        return pack(arrays, {"format": _FORMAT, "base_digest": self.base_digest})

    @classmethod
    def from_bytes(cls, data: bytes) -> TastePrior:
        """The prior that `to_bytes` wrote.

        Raises:
            InvalidInput: not such bytes, missing arrays, shapes that do not fit, or numbers that are not finite.
        """
        arrays, metadata = unpack(data)
        if metadata.get("format") != _FORMAT:
            raise InvalidInput(f"not a taste prior: format {metadata.get('format')!r}, not {_FORMAT!r}")
        if set(arrays) != {"mean_PA", "factor_PKA", "noise_sd_A"}:
            raise InvalidInput(f"not a taste prior: arrays {sorted(arrays)}")
        return cls(base_digest=str(metadata.get("base_digest")), **arrays)

    @cached_property
    def digest(self) -> str:
        return digest(self.to_bytes())

    @cached_property
    def _factor_APK(self) -> list[np.ndarray]:
        return [np.asfortranarray(factor_PK, np.float64) for factor_PK in np.moveaxis(self.factor_PKA, 2, 0)]


@dataclass(frozen=True, eq=False)
class ShiftedPrior:
    """A prior with a shifted mean, for one user.

    Its coordinates and digest are those of the inner prior, so that a stored `Uncertainty` fits both.

    Raises:
        InvalidInput: a shift of another shape than the mean's, or numbers that are not finite.
    """

    prior: Prior
    shift_PA: np.ndarray

    def __post_init__(self) -> None:
        shape = len(self.prior.mean(0)), len(self.prior.noise_sd_A)
        if self.shift_PA.shape != shape or not np.isfinite(self.shift_PA).all():
            raise InvalidInput(f"shift {self.shift_PA.shape} of a taste prior with mean {shape}, or not finite")

    @property
    def digest(self) -> str | None:
        return self.prior.digest

    @property
    def num_coordinates(self) -> int:
        return self.prior.num_coordinates

    @property
    def noise_sd_A(self) -> np.ndarray:
        return self.prior.noise_sd_A

    def fits(self, base: BaseScorer) -> bool:
        return self.prior.fits(base)

    def mean(self, aspect: int) -> np.ndarray:
        return self.prior.mean(aspect) + self.shift_PA[:, aspect]

    def coordinates(self, design_BP: np.ndarray, aspect: int) -> np.ndarray:
        return self.prior.coordinates(design_BP, aspect)

    def coordinates_together(self, design_NP: np.ndarray, aspect: int) -> np.ndarray:
        return self.prior.coordinates_together(design_NP, aspect)

    def weights(self, coordinate_K: np.ndarray, aspect: int) -> np.ndarray:
        return self.prior.weights(coordinate_K, aspect) + self.shift_PA[:, aspect]


@dataclass(frozen=True, eq=False)
class HeadPrior:
    """The prior of a user's head that does not use the generic score; it starts from the middle of the scale.

    A mean slope of -1 cancels the generic score. The variance of the weights is the sum of that of the base model's
    prior and the mean square of the generic head's weights, because a user's head is that head plus a deviation. The
    scores of a network's own heads are not used as features.
    """

    base: BaseScorer

    @property
    def digest(self) -> str:
        return sha256_hex(f"{_HEAD_FORMAT} {self.base.digest}".encode())

    @property
    def num_coordinates(self) -> int:
        return self.base.taste_dim + 2

    @property
    def noise_sd_A(self) -> np.ndarray:
        return self.base.noise_sd_A

    def fits(self, base: BaseScorer) -> bool:
        return self.base.digest == base.digest

    def mean(self, aspect: int) -> np.ndarray:
        return -np.eye(self.num_coordinates)[1]

    def coordinates(self, design_BP: np.ndarray, aspect: int) -> np.ndarray:
        return design_BP * self._sd_PA[:, aspect]

    coordinates_together = coordinates

    def weights(self, coordinate_K: np.ndarray, aspect: int) -> np.ndarray:
        return self.mean(aspect) + coordinate_K * self._sd_PA[:, aspect]

    @cached_property
    def _sd_PA(self) -> np.ndarray:
        num_features = self.base.taste_dim - (len(self.base.aspects) if self.base.heads is not None else 0)
        head_RA = self.base.head_weight_RA[:num_features].astype(np.float64)
        sd_A = np.sqrt(np.square(self.base.prior_sd_A.astype(np.float64)) + np.square(head_RA).mean(0))
        sd_RA = np.zeros((self.base.taste_dim, len(self.base.aspects)))
        sd_RA[:num_features] = _HEAD_WIDTH * sd_A
        return np.concatenate([np.full((1, len(sd_A)), _HEAD_OFFSET_SD), np.zeros((1, len(sd_A))), sd_RA])
