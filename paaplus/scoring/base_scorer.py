"""The NumPy side of a base model: from cached features to taste space and generic scores.

Shape letters: B = items, D = feature dim, P = principal dims, T = anchors (0: none), Q = T or, without anchors, P,
R = taste space dim, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.ids import sha256_hex
from paaplus.records import SCORE_MAX, SCORE_MIN
from paaplus.scoring.frame_heads import FrameHeads
from paaplus.scoring.rows import rowwise_matmul
from paaplus.scoring.tensors import check_names, pack, unpack

NEUTRAL_PREFERENCE = 0.5  # input of a network's heads for a user without a preference
HEADS_SCALE = 1e-3  # factor of a score in taste space, where other coordinates are about 0.1
_MIDDLE = (SCORE_MIN + SCORE_MAX) / 2

_FORMAT = "base-scorer-2"


@dataclass(frozen=True, eq=False)
class BaseScorer:
    """A frozen base model as served: features to taste space, and a generic head that is linear in it.

        principal = (features - mean) @ components
        basis     = exp(-inverse_width * |principal - anchor|^2) for every anchor, or `principal` without anchors
        taste     = basis @ map + shift
        generic   = taste @ head_weight + head_bias

    A base model may have `heads` of its own, which are not linear in its features. Their scores, with or without a
    user's preference, are then the last A coordinates of taste space, so that the generic head stays linear. They are
    multiplied by `HEADS_SCALE`: an adapter's weights on them have no effect then, only its slope has.

    With anchors, taste space is that of a kernel: a linear function of it is a smooth function of the features. Images
    have a squared norm of 1 on average. Directions in which people differ most come first.

    The four standard deviations are the isotropic taste prior, per aspect and in score points. A person's rating of an
    image is `generic + offset + slope * (generic - middle of the scale) + taste @ weight + noise`, where `offset`,
    `slope`, every `weight` and `noise` are normal around 0. The noise includes the error of the generic head on an
    image that it was not trained on.

    Raises:
        InvalidInput: arrays whose shapes do not fit together, or numbers that are not finite.
    """

    name: str
    aspects: tuple[str, ...]
    extractor_digest: str
    mean_D: np.ndarray
    components_DP: np.ndarray
    anchors_TP: np.ndarray
    inverse_width: float
    map_QR: np.ndarray
    shift_R: np.ndarray
    head_weight_RA: np.ndarray
    head_bias_A: np.ndarray
    prior_sd_A: np.ndarray
    noise_sd_A: np.ndarray
    offset_sd_A: np.ndarray
    slope_sd_A: np.ndarray
    heads: FrameHeads | None = None

    def __post_init__(self) -> None:
        _check(self)

    @property
    def feature_dim(self) -> int:
        return int(self.mean_D.shape[0])

    @property
    def taste_dim(self) -> int:
        return int(self.map_QR.shape[1])

    @property
    def preference_dim(self) -> int:
        """Number of values of a user's preference that generic scores depend on; 0: they are the same for everybody."""
        return self.heads.preference_dim if self.heads is not None else 0

    def effective(self, preference: Sequence[float]) -> list[float] | None:
        """A user's preference, if it changes generic scores; else None.

        A base model whose heads take no preference, or one of another size, ignores it. So does any for a neutral one.
        """
        if self.preference_dim != len(preference):
            return None
        return list(preference) if any(value != NEUTRAL_PREFERENCE for value in preference) else None

    def project(self, features_BD: np.ndarray, preference: Sequence[float] | None = None) -> np.ndarray:
        """Cached features in taste space, shape (B, R), float32. A row is bit-identical in any batch.

        Args:
            features_BD: features from the extractor of this base model.
            preference: the user's preference, values 0-1; None: projected without a user preference.

        Raises:
            InvalidInput: another feature dim or preference dim than this model's, or a value that is not finite.
        """
        if preference is not None and (self.heads is None or len(preference) != self.preference_dim):
            raise InvalidInput(f"{self.name} takes {self.preference_dim} values of a preference, got {len(preference)}")
        if features_BD.ndim != 2 or features_BD.shape[1] != self.feature_dim:
            raise InvalidInput(f"{self.name} needs features of dim {self.feature_dim}, got {features_BD.shape}")
        if not np.isfinite(features_BD).all():
            raise InvalidInput(f"{self.name}: features that are not finite")
        basis_BQ = rowwise_matmul(features_BD.astype(np.float64) - self.mean_D, self._components_DP)
        if len(self.anchors_TP):
            basis_BQ = self._kernel(basis_BQ)
        taste_BR = rowwise_matmul(basis_BQ, self._map_QR) + self.shift_R
        if self.heads is not None:
            neutral = [NEUTRAL_PREFERENCE] * self.preference_dim
            preference_F = np.array(neutral if preference is None else preference, np.float64)
            score_BA = self.heads.score(features_BD, preference_F)[:, self._head_columns]
            taste_BR[:, -len(self.aspects) :] = HEADS_SCALE * (score_BA - _MIDDLE)
        return taste_BR.astype(np.float32)

    def generic(self, taste_BR: np.ndarray) -> np.ndarray:
        """Generic scores of images in taste space, 0-10, shape (B, A), float32."""
        score_BA = rowwise_matmul(taste_BR, self.head_weight_RA) + self.head_bias_A
        return np.clip(score_BA, SCORE_MIN, SCORE_MAX).astype(np.float32)

    def with_heads(self, heads: FrameHeads) -> BaseScorer:
        """This base model with generic scores from a network's heads instead of the linear head.

        Raises:
            InvalidInput: the heads lack an aspect of this model, or take features of another dim.
        """
        num_aspects = len(self.aspects)
        identity_AA = np.eye(num_aspects, dtype=np.float32)
        return replace(
            self,
            map_QR=np.pad(self.map_QR, ((0, 0), (0, num_aspects))),
            shift_R=np.pad(self.shift_R, (0, num_aspects)),
            head_weight_RA=np.concatenate([np.zeros_like(self.head_weight_RA), identity_AA / HEADS_SCALE]),
            head_bias_A=np.full(num_aspects, _MIDDLE, np.float32),
            heads=heads,
        )

    def _kernel(self, principal_BP: np.ndarray) -> np.ndarray:
        """Gaussian kernel of every item and every anchor, 0-1, shape (B, T)."""
        # |p - a|^2 = [p, p * p] @ [-2 a, 1] + |a|^2: one product per row.
        both = np.concatenate([principal_BP, principal_BP * principal_BP], axis=1)
        distance_BT = rowwise_matmul(both, self._distance_weight) + self._anchor_norm_T
        for distance_T in distance_BT:  # by row: in a long array, a value's place may decide which exp computes it
            np.exp(-self.inverse_width * distance_T, out=distance_T)
        return distance_BT

    @cached_property
    def _head_columns(self) -> list[int]:
        assert self.heads is not None
        return [self.heads.aspects.index(aspect) for aspect in self.aspects]

    # Column-major float64: `rowwise_matmul` would convert other arrays at every call.
    @cached_property
    def _components_DP(self) -> np.ndarray:
        return np.asfortranarray(self.components_DP, np.float64)

    @cached_property
    def _map_QR(self) -> np.ndarray:
        return np.asfortranarray(self.map_QR, np.float64)

    @cached_property
    def _distance_weight(self) -> np.ndarray:
        anchors_PT = self.anchors_TP.T.astype(np.float64)
        return np.asfortranarray(np.concatenate([-2.0 * anchors_PT, np.ones_like(anchors_PT)]))

    @cached_property
    def _anchor_norm_T(self) -> np.ndarray:
        return np.square(self.anchors_TP.astype(np.float64)).sum(1)

    def to_bytes(self) -> bytes:
        metadata = {
            "format": _FORMAT,
            "name": self.name,
            "aspects": list(self.aspects),
            "extractor_digest": self.extractor_digest,
            "inverse_width": self.inverse_width,
        }
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        if self.heads is not None:
            arrays[_HEADS] = np.frombuffer(self.heads.to_bytes(), np.uint8)
        return pack(arrays, metadata)

    @classmethod
    def from_bytes(cls, data: bytes) -> BaseScorer:
        """The base model that `to_bytes` wrote.

        Raises:
            InvalidInput: not such bytes, missing arrays, shapes that do not fit, or numbers that are not finite.
        """
        arrays, metadata = unpack(data)
        if metadata.get("format") != _FORMAT:
            raise InvalidInput(f"not a base model artifact: format {metadata.get('format')!r:.64}, not {_FORMAT!r}")
        packed_heads = arrays.pop(_HEADS, None)
        check_names("base model", arrays, _ARRAYS)
        aspects, width = metadata.get("aspects"), metadata.get("inverse_width")
        if not isinstance(aspects, list) or not isinstance(width, int | float):
            raise InvalidInput(f"base model with aspects {aspects!r} and inverse width {width!r}")
        return cls(
            name=str(metadata.get("name")),
            aspects=tuple(str(aspect) for aspect in aspects),
            extractor_digest=str(metadata.get("extractor_digest")),
            inverse_width=float(width),
            heads=FrameHeads.from_bytes(packed_heads.tobytes()) if packed_heads is not None else None,
            **arrays,
        )

    @cached_property
    def digest(self) -> str:
        """Digest of everything that a generic score depends on; part of every adapter version and receipt."""
        return sha256_hex(self.to_bytes())


_HEADS = "heads"  # name of the array with the bytes of the FrameHeads
_ARRAYS = tuple(f.name for f in fields(BaseScorer) if f.type == "np.ndarray")


def _check(scorer: BaseScorer) -> None:
    sizes = {"A": len(scorer.aspects)}
    if not scorer.aspects or len(set(scorer.aspects)) != len(scorer.aspects):
        raise InvalidInput(f"base model {scorer.name}: aspects {scorer.aspects}; one at least, none twice")
    for name in _ARRAYS:
        array, letters = getattr(scorer, name), name.rsplit("_", 1)[1]
        if array.ndim != len(letters) or not np.issubdtype(array.dtype, np.floating):
            raise InvalidInput(f"base model array {name}: dtype {array.dtype}, shape {array.shape}")
        for letter, size in zip(letters, array.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise InvalidInput(f"base model array {name}: {letter} is {size} here and {sizes[letter]} elsewhere")
        if not np.isfinite(array).all():
            raise InvalidInput(f"base model array {name}: numbers that are not finite")
        if name.endswith("_sd_A") and (array < 0).any():
            raise InvalidInput(f"base model array {name}: a negative standard deviation")
    if sizes["Q"] != (sizes["T"] or sizes["P"]):
        raise InvalidInput(f"base model map of {sizes['Q']} rows beside {sizes['T']} anchors of dim {sizes['P']}")
    if not np.isfinite(scorer.inverse_width) or scorer.inverse_width < 0:
        raise InvalidInput(f"base model with an inverse width of {scorer.inverse_width}")
    if (scorer.noise_sd_A <= 0).any():
        raise InvalidInput(f"base model with noise sds {scorer.noise_sd_A}: above 0")
    if scorer.heads is not None:
        if missing := sorted(set(scorer.aspects) - set(scorer.heads.aspects)):
            raise InvalidInput(f"base model {scorer.name}: its heads score {scorer.heads.aspects}, not {missing}")
        if scorer.heads.feature_dim != sizes["D"]:
            raise InvalidInput(f"base model features of dim {sizes['D']}, heads for {scorer.heads.feature_dim}")
