"""The base model's generic score as a tool.

Shape letters: B = images, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import OwnPrior, design
from paaplus.tools.tool import Judgement, Need, ToolImage, within_width


@dataclass(frozen=True, eq=False)
class GenericTool:
    """Gives the generic score of every aspect of the base model.

    The confidence is the probability that a user without feedback rates within `WIDTH`: it follows from the variance
    of the base model's own prior on that image and from the noise.
    """

    base: BaseScorer

    name = "generic"
    need = Need.FEATURES

    @cached_property
    def version(self) -> str:
        return self.base.digest[:16]

    @property
    def aspects(self) -> tuple[str, ...]:
        return self.base.aspects

    def score(self, images: Sequence[ToolImage]) -> list[Judgement]:
        if not images:
            return []
        taste_BR = self.base.project(np.stack([_features(image) for image in images]))
        generic_BA = self.base.generic(taste_BR)
        prior = OwnPrior(self.base)
        judgements = []
        for taste_R, generic_A in zip(taste_BR, generic_BA, strict=True):  # by row: bit-identical in any batch
            confidences = {}
            for a, aspect in enumerate(self.aspects):
                coordinate_K = prior.coordinates(design(taste_R[None], generic_A[a : a + 1]), a)[0]
                variance = float(coordinate_K @ coordinate_K) + float(self.base.noise_sd_A[a]) ** 2
                confidences[aspect] = within_width(variance**0.5)
            judgements.append(Judgement(dict(zip(self.aspects, generic_A.tolist(), strict=True)), confidences))
        return judgements


def _features(image: ToolImage) -> np.ndarray:
    assert image.features_D is not None, "this tool needs features"
    return image.features_D
