"""PhysiqueFrame's heads as served: from cached features and a user's preference to scores. NumPy only.

Shape letters: B = items, D = feature dim, F = preference dims, I = D + F, A = aspects, P, Q = dims of the two hidden
layers, E = features of the optional branches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.records import SCORE_MAX, SCORE_MIN
from paaplus.scoring.rows import rowwise_matmul
from paaplus.scoring.tensors import pack, unpack

_FORMAT = "frame-heads-1"
_ARRAYS = {
    "first_weight_AIP": 3, "first_bias_AP": 2, "second_weight_APQ": 3, "second_bias_AQ": 2, "last_weight_AQ": 2,
    "last_bias_A": 1,
}  # fmt: skip
_ROUNDING = 2.0**-7  # relative error of features that were computed in bfloat16
_ABSENT = "absent_E"  # only in artifacts that know which branches were used


@dataclass(frozen=True, eq=False)
class FrameHeads:
    """A head per aspect, its batch normalisations folded in.

        hidden = relu([features, preference] @ first + bias);  hidden = relu(hidden @ second + bias)
        score  = 10 * sigmoid(hidden @ last + bias)

    `branches` lists the parts of the features with their sizes, in order. The first is always there. If another is
    missing for an image, and only then, its features equal `absent_E`. Cached features therefore show which branches
    were used. If `branches` is empty, that is not known.

    Raises:
        InvalidInput: arrays whose shapes do not fit together, or numbers that are not finite.
    """

    aspects: tuple[str, ...]
    preference_dim: int
    first_weight_AIP: np.ndarray
    first_bias_AP: np.ndarray
    second_weight_APQ: np.ndarray
    second_bias_AQ: np.ndarray
    last_weight_AQ: np.ndarray
    last_bias_A: np.ndarray
    branches: tuple[tuple[str, int], ...] = ()
    absent_E: np.ndarray | None = None  # float16, like cached features

    def __post_init__(self) -> None:
        sizes = {"A": len(self.aspects)}
        for name, num_axes in _ARRAYS.items():
            array, letters = getattr(self, name), name.rsplit("_", 1)[1]
            if array.ndim != num_axes or not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
                raise InvalidInput(f"head array {name}: dtype {array.dtype}, shape {array.shape}, or not finite")
            for letter, size in zip(letters, array.shape, strict=True):
                if sizes.setdefault(letter, size) != size:
                    raise InvalidInput(f"head array {name}: {letter} is {size} here and {sizes[letter]} elsewhere")
        if not 0 <= self.preference_dim < sizes["I"]:
            raise InvalidInput(f"heads of {sizes['I']} inputs with a preference of {self.preference_dim} dims")
        self._check_branches()

    def _check_branches(self) -> None:
        if not self.branches and self.absent_E is None:
            return
        sizes = [size for _, size in self.branches]
        absent_E = self.absent_E if self.absent_E is not None else np.empty(0)
        if not sizes or min(sizes) < 1 or sum(sizes) != self.feature_dim:
            raise InvalidInput(f"heads for features of dim {self.feature_dim} with branches {self.branches}")
        if absent_E.dtype != np.float16 or absent_E.shape != (sum(sizes[1:]),) or not np.isfinite(absent_E).all():
            raise InvalidInput(f"head array {_ABSENT}: dtype {absent_E.dtype}, shape {absent_E.shape}, or not finite")

    @property
    def feature_dim(self) -> int:
        return int(self.first_weight_AIP.shape[1]) - self.preference_dim

    def score(self, features_BD: np.ndarray, preference_BF: np.ndarray) -> np.ndarray:
        """Scores 0-10, shape (B, A), float32. A row is bit-identical in any batch.

        Args:
            features_BD: cached image, posture and mesh features.
            preference_BF: the preference of each item's user, 0-1, or one of shape (F,) for all items. 0.5: none.

        Raises:
            InvalidInput: other dims than these heads', or a value that is not finite.
        """
        preference_BF = np.broadcast_to(preference_BF, (len(features_BD), np.shape(preference_BF)[-1]))
        if features_BD.ndim != 2 or (features_BD.shape[1], preference_BF.shape[1]) != (
            self.feature_dim,
            self.preference_dim,
        ):
            raise InvalidInput(
                f"heads need features of dim {self.feature_dim} and preferences of dim {self.preference_dim}, "
                f"got {features_BD.shape} and {preference_BF.shape}"
            )
        both_BI = np.concatenate([features_BD, preference_BF], axis=1).astype(np.float64)
        if not np.isfinite(both_BI).all():
            raise InvalidInput("features or preferences that are not finite")
        A = len(self.aspects)
        first_BAP = rowwise_matmul(both_BI, self._first_IR).reshape(len(both_BI), *self.first_bias_AP.shape)
        first_BAP = np.maximum(first_BAP + self.first_bias_AP, 0)
        score_BA = np.empty((len(both_BI), A), np.float32)
        for a in range(A):
            second_BQ = np.maximum(rowwise_matmul(first_BAP[:, a], self._second[a]) + self.second_bias_AQ[a], 0)
            logit_B = rowwise_matmul(second_BQ, self.last_weight_AQ[a][:, None])[:, 0] + self.last_bias_A[a]
            for b, logit in enumerate(logit_B):  # one at a time: an array's exp may differ with the place in the batch
                score_BA[b, a] = SCORE_MIN + (SCORE_MAX - SCORE_MIN) / (1 + np.exp(-logit))
        return score_BA

    def used_branches(self, features_D: np.ndarray) -> tuple[str, ...] | None:
        """The branches that one image's cached features were computed with; None: not known."""
        if self.absent_E is None:
            return None
        used, start = [self.branches[0][0]], self.branches[0][1]
        absent_D = np.concatenate([np.zeros(start, np.float16), self.absent_E])
        for name, size in self.branches[1:]:
            part = slice(start, start + size)
            if not np.allclose(features_D[part], absent_D[part], rtol=_ROUNDING, atol=1e-6):
                used.append(name)
            start += size
        return tuple(used)

    # Column-major float64: `rowwise_matmul` would convert other arrays at every call.
    @cached_property
    def _first_IR(self) -> np.ndarray:
        inputs_first = np.moveaxis(self.first_weight_AIP, 1, 0).reshape(self.first_weight_AIP.shape[1], -1)
        return np.asfortranarray(inputs_first, np.float64)

    @cached_property
    def _second(self) -> list[np.ndarray]:
        return [np.asfortranarray(weight_PQ, np.float64) for weight_PQ in self.second_weight_APQ]

    def to_bytes(self) -> bytes:
        metadata: dict[str, object] = {
            "format": _FORMAT,
            "aspects": list(self.aspects),
            "preference_dim": self.preference_dim,
        }
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        if self.absent_E is not None:
            arrays[_ABSENT] = self.absent_E
            metadata["branches"] = [list(branch) for branch in self.branches]
        return pack(arrays, metadata)

    @classmethod
    def from_bytes(cls, data: bytes) -> FrameHeads:
        """The heads that `to_bytes` wrote.

        Raises:
            InvalidInput: not such bytes, other arrays, or shapes that do not fit.
        """
        arrays, metadata = unpack(data)
        aspects, preference_dim = metadata.get("aspects"), metadata.get("preference_dim")
        absent_E = arrays.pop(_ABSENT, None)
        if metadata.get("format") != _FORMAT or set(arrays) != set(_ARRAYS):
            raise InvalidInput(f"not heads of PhysiqueFrame: {metadata.get('format')!r} with {sorted(arrays)}")
        if not isinstance(aspects, list) or not isinstance(preference_dim, int):
            raise InvalidInput(f"heads with aspects {aspects!r} and preference dims {preference_dim!r}")
        return cls(
            tuple(str(aspect) for aspect in aspects),
            preference_dim,
            **arrays,
            branches=_branches(metadata.get("branches", [])),
            absent_E=absent_E,
        )


def _branches(found: object) -> tuple[tuple[str, int], ...]:
    if not isinstance(found, list):
        raise InvalidInput(f"heads with branches {str(found)[:200]}")
    branches = []
    for branch in found:
        if not (isinstance(branch, list) and [type(part) for part in branch] == [str, int]):
            raise InvalidInput(f"heads with branches {str(found)[:200]}")
        branches.append((branch[0], branch[1]))
    return tuple(branches)
