"""A tool revision: the corrections of a tool's labels that were learned from one application's reviews. NumPy only.

Shape letters: B = images, R = taste space dim, A = aspects of the base model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.ids import sha256_hex
from paaplus.records import SCORE_MAX, SCORE_MIN
from paaplus.scoring.calibration import Calibration
from paaplus.scoring.reward import RewardHead
from paaplus.scoring.tensors import pack, unpack

_FORMAT = "tool-revision-1"
_HEAD = "weight_PA"


@dataclass(frozen=True, eq=False)
class Revision:
    """Calibrations by aspect and, if it lowers the error, a reward head for the base model's `head_aspects`."""

    calibrations: Mapping[str, Calibration]
    head: RewardHead | None = None
    head_aspects: tuple[str, ...] = field(default=())

    def calibrated(self, aspect: str, score: float) -> float:
        """The score after calibration, 0-10; unchanged for an aspect without reviews."""
        if aspect not in self.calibrations:
            return score
        return float(self.calibrations[aspect].apply(np.array([score]))[0])

    def moved(self, aspect: str, label: float, taste_R: np.ndarray, generic_A: np.ndarray) -> float:
        """The label after the reward head's correction, 0-10; unchanged for an aspect without a head.

        Args:
            aspect: its name.
            label: the calibrated score.
            taste_R: the image in taste space.
            generic_A: its generic scores.
        """
        if self.head is None or aspect not in self.head_aspects:
            return label
        a = self.head_aspects.index(aspect)
        return min(max(label + float(self.head.moves(taste_R[None], generic_A[None], a)[0]), SCORE_MIN), SCORE_MAX)

    def to_bytes(self) -> bytes:
        arrays = {_HEAD: self.head.weight_PA if self.head is not None else np.zeros((0, 0), np.float32)}
        metadata = {
            "format": _FORMAT,
            "calibrations": {aspect: one.to_json() for aspect, one in sorted(self.calibrations.items())},
            "base_digest": self.head.base_digest if self.head is not None else None,
            "head_aspects": list(self.head_aspects),
        }
        return pack(arrays, metadata)

    @classmethod
    def from_bytes(cls, data: bytes) -> Revision:
        """The revision that `to_bytes` wrote.

        Raises:
            InvalidInput: not such bytes.
        """
        arrays, metadata = unpack(data)
        calibrations, aspects = metadata.get("calibrations"), metadata.get("head_aspects")
        if metadata.get("format") != _FORMAT or not isinstance(calibrations, dict) or not isinstance(aspects, list):
            raise InvalidInput(f"not a tool revision: format {metadata.get('format')!r:.64}")
        head = None
        if metadata.get("base_digest") is not None:
            weight_PA = arrays.get(_HEAD)
            if weight_PA is None or weight_PA.ndim != 2 or weight_PA.shape[1] != len(aspects):
                raise InvalidInput(f"not a tool revision: arrays {sorted(arrays)[:8]}, aspects {aspects!r:.64}")
            if not np.isfinite(weight_PA).all():
                raise InvalidInput("a tool revision with numbers that are not finite")
            head = RewardHead(str(metadata["base_digest"]), weight_PA)
        return cls(
            {str(aspect): Calibration.from_json(one) for aspect, one in calibrations.items()},
            head,
            tuple(str(aspect) for aspect in aspects),
        )

    @cached_property
    def digest(self) -> str:
        return sha256_hex(self.to_bytes())
