"""The preference encoder as served: from survey answers to a preference, and from a preference to a shift of taste.

    latent     = answers (standardised; 0 without an answer) @ weight
    preference = 0.5 + latent / 6, clipped to 0-1:        0.5 is the mean of people, 1/6 is one sd
    shift      = (preference - 0.5) * 6 @ shift:      added to the mean of the taste prior

NumPy only. Shape letters: Q = columns of answers, F = preference dims, P = regressors of a taste prior, A = aspects.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.scoring.base_scorer import NEUTRAL_PREFERENCE, BaseScorer
from paaplus.scoring.tensors import check_names, digest, pack, unpack

PREFERENCE_PER_SD: Final = 1 / 6  # three standard deviations on each side fit between 0 and 1

_FORMAT = "preference-encoder-1"
_ARRAYS = {"mean_Q": 1, "scale_Q": 1, "weight_QF": 2, "shift_FPA": 3}


@dataclass(frozen=True, eq=False)
class PreferenceEncoder:
    """A preference encoder of one base model, for answers in the order of `columns`; see `fitting.preference_encoder`.

    Raises:
        InvalidInput: arrays whose shapes do not fit together, or numbers that are not finite.
    """

    base_digest: str
    columns: tuple[str, ...]
    mean_Q: np.ndarray
    scale_Q: np.ndarray
    weight_QF: np.ndarray
    shift_FPA: np.ndarray

    def __post_init__(self) -> None:
        sizes = {"Q": len(self.columns)}
        if not self.columns or len(set(self.columns)) != len(self.columns):
            raise InvalidInput(f"preference encoder of {len(self.columns)} columns: one at least, none twice")
        for name, num_axes in _ARRAYS.items():
            array, letters = getattr(self, name), name.rsplit("_", 1)[1]
            if array.ndim != num_axes or array.dtype != np.float32 or not np.isfinite(array).all():
                raise InvalidInput(f"preference encoder array {name}: {array.dtype}, {array.shape}, or not finite")
            for letter, size in zip(letters, array.shape, strict=True):
                if sizes.setdefault(letter, size) != size:
                    raise InvalidInput(f"preference encoder array {name}: {letter} is {size}, not {sizes[letter]}")
        if (self.scale_Q <= 0).any() or not sizes["F"]:
            raise InvalidInput("preference encoder of no dims, or with a scale that is not above 0")

    @property
    def dim(self) -> int:
        """Number of values of a preference."""
        return int(self.weight_QF.shape[1])

    @property
    def is_informative(self) -> bool:
        """False: the answers do not predict taste, and every shift is 0."""
        return bool(self.shift_FPA.any())

    def encode(self, answers_Q: np.ndarray) -> np.ndarray:
        """The preference, shape (F,), float64, each value 0-1.

        Args:
            answers_Q: one per column; NaN without an answer.

        Raises:
            InvalidInput: another number of answers, or an infinite one.
        """
        answers_Q = np.asarray(answers_Q, np.float64)
        if answers_Q.shape != self.mean_Q.shape or np.isinf(answers_Q).any():
            raise InvalidInput(f"answers of shape {answers_Q.shape}: {len(self.columns)} finite numbers, NaN for none")
        standard_Q = np.nan_to_num((answers_Q - self.mean_Q) / self.scale_Q, nan=0.0)
        return np.clip(NEUTRAL_PREFERENCE + (standard_Q @ self.weight_QF) * PREFERENCE_PER_SD, 0.0, 1.0)

    def shift(self, preference_F: np.ndarray) -> np.ndarray:
        """The shift of the mean weights of the taste prior, shape (P, A), float32.

        Raises:
            InvalidInput: another number of values, or one outside 0-1.
        """
        preference_F = checked_preference(preference_F, self.dim)
        latent_F = (preference_F - NEUTRAL_PREFERENCE) / PREFERENCE_PER_SD
        return np.einsum("f,fpa->pa", latent_F, self.shift_FPA.astype(np.float64)).astype(np.float32)

    def fits(self, base: BaseScorer) -> bool:
        """True if the encoder was fitted for this base model."""
        return self.base_digest == base.digest and self.shift_FPA.shape[1:] == (base.taste_dim + 2, len(base.aspects))

    def to_bytes(self) -> bytes:
        metadata = {"format": _FORMAT, "base_digest": self.base_digest, "columns": list(self.columns)}
        return pack({name: getattr(self, name) for name in _ARRAYS}, metadata)

    @classmethod
    def from_bytes(cls, data: bytes) -> PreferenceEncoder:
        """The encoder that `to_bytes` wrote.

        Raises:
            InvalidInput: not such bytes, other arrays, or shapes that do not fit.
        """
        arrays, metadata = unpack(data)
        columns, base_digest = metadata.get("columns"), metadata.get("base_digest")
        if metadata.get("format") != _FORMAT or not isinstance(columns, list) or not isinstance(base_digest, str):
            raise InvalidInput(f"not a preference encoder: format {metadata.get('format')!r:.64}")
        check_names("preference encoder", arrays, _ARRAYS)
        return cls(base_digest, tuple(str(name) for name in columns), **arrays)

    @cached_property
    def digest(self) -> str:
        return digest(self.to_bytes())


def checked_preference(preference_F: np.ndarray, dim: int) -> np.ndarray:
    """A preference as float64.

    Raises:
        InvalidInput: not `dim` values, or one outside 0-1.
    """
    preference_F = np.asarray(preference_F, np.float64)
    if preference_F.shape != (dim,):
        raise InvalidInput(f"a preference of {preference_F.size} values; {dim} are needed")
    if not ((preference_F >= 0) & (preference_F <= 1)).all():  # NaN is neither
        raise InvalidInput(f"preference {preference_F.tolist()}: values from 0 to 1")
    return preference_F
