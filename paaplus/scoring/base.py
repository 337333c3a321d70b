"""The NumPy side of a base model: from cached features to taste space and generic scores.

Shape letters: B = items, D = feature dim, R = taste space dim, A = aspects, T = anchors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.ids import sha256_hex
from paaplus.records import SCORE_MAX, SCORE_MIN
from paaplus.scoring.rows import rowwise_matmul
from paaplus.scoring.tensors import pack, unpack


@dataclass(frozen=True)
class BaseScorer:
    """A frozen base model as served: standardise, project to taste space, generic head.

    Taste space is the whitened-by-scale principal space of the training images: `taste = (x - mean) / scale @
    projection`. The generic head reads it. `prior_sd_A` and `noise_sd_A` say how far people's taste spreads per taste
    dimension and how noisy one rating is, both on the score scale: the isotropic taste prior.
    """

    name: str
    aspects: tuple[str, ...]
    extractor_digest: str
    mean_D: np.ndarray
    scale_D: np.ndarray
    projection_DR: np.ndarray
    head_weight_RA: np.ndarray
    head_bias_A: np.ndarray
    prior_sd_A: np.ndarray
    noise_sd_A: np.ndarray
    offset_sd_A: np.ndarray
    slope_sd_A: np.ndarray
    anchors_TR: np.ndarray  # T may be 0: a linear head
    anchor_weight_TA: np.ndarray
    anchor_inverse_width: float

    @property
    def feature_dim(self) -> int:
        return int(self.mean_D.shape[0])

    @property
    def taste_dim(self) -> int:
        return int(self.projection_DR.shape[1])

    def project(self, features_BD: np.ndarray) -> np.ndarray:
        """Cached features in taste space, shape (B, R), float32.

        Raises:
            InvalidInput: another feature dim than this model's, or a value that is not finite.
        """
        if features_BD.ndim != 2 or features_BD.shape[1] != self.feature_dim:
            raise InvalidInput(f"{self.name} needs features of dim {self.feature_dim}, got {features_BD.shape}")
        if not np.isfinite(features_BD).all():
            raise InvalidInput(f"{self.name}: features that are not finite")
        standard_BD = (features_BD.astype(np.float64) - self.mean_D) / self.scale_D
        return rowwise_matmul(standard_BD, self.projection_DR).astype(np.float32)

    def generic(self, taste_BR: np.ndarray) -> np.ndarray:
        """Generic scores of projected images, shape (B, A), float32, clipped to 0-10."""
        score_BA = rowwise_matmul(taste_BR, self.head_weight_RA) + self.head_bias_A
        if len(self.anchors_TR):
            kernel_BT = np.stack([self._kernel_row(taste_R) for taste_R in taste_BR]) if len(taste_BR) else None
            if kernel_BT is not None:
                score_BA = score_BA + rowwise_matmul(kernel_BT, self.anchor_weight_TA)
        return np.clip(score_BA, SCORE_MIN, SCORE_MAX).astype(np.float32)

    def _kernel_row(self, taste_R: np.ndarray) -> np.ndarray:
        difference_TR = self.anchors_TR.astype(np.float64) - taste_R.astype(np.float64)
        return np.exp(-self.anchor_inverse_width * (difference_TR * difference_TR).sum(1))

    def to_bytes(self) -> bytes:
        arrays = {k: np.asarray(v) for k, v in vars(self).items() if k.endswith(("_D", "_DR", "_RA", "_A", "_TR", "_TA"))}
        metadata = {
            "format": "base-scorer-1",
            "name": self.name,
            "aspects": list(self.aspects),
            "extractor_digest": self.extractor_digest,
            "anchor_inverse_width": self.anchor_inverse_width,
        }
        return pack(arrays, metadata)

    @classmethod
    def from_bytes(cls, data: bytes) -> BaseScorer:
        arrays, metadata = unpack(data)
        if metadata.get("format") != "base-scorer-1":
            raise InvalidInput(f"not a base model artifact: format {metadata.get('format')!r}")
        return cls(
            name=str(metadata["name"]),
            aspects=tuple(metadata["aspects"]),  # type: ignore[arg-type]
            extractor_digest=str(metadata["extractor_digest"]),
            anchor_inverse_width=float(metadata["anchor_inverse_width"]),  # type: ignore[arg-type]
            **arrays,
        )

    @property
    def digest(self) -> str:
        """Names everything that a generic score depends on; part of every adapter version and receipt."""
        return sha256_hex(self.to_bytes())
