"""Models as functions from images to scores of one aspect: tools, and a base model with or without an adapter.

Shape letters: B = images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from paaplus.errors import InvalidInput
from paaplus.evaluation.robustness.search import Scorer
from paaplus.models.extractor import Extractor
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.tools.tool import Need, Tool, ToolImage

_BATCH = 16


def tool_scorer(tool: Tool, aspect: str, extractor: Extractor | None = None) -> Scorer:
    """One aspect of a tool. A tool that reads features needs their extractor.

    Raises:
        InvalidInput: the tool has no such aspect, or cannot be run on an edited image.
    """
    if aspect not in tool.aspects:
        raise InvalidInput(f"tool {tool.name!r} has no aspect {aspect!r}; known: {', '.join(tool.aspects)}")
    if tool.need == Need.NAME:
        raise InvalidInput(f"tool {tool.name!r} knows images by name: it cannot score an edited one")
    if tool.need == Need.FEATURES and extractor is None:
        raise InvalidInput(f"tool {tool.name!r} reads features: it needs a base model's extractor")

    def score(images: Sequence[Image.Image]) -> np.ndarray:
        inputs = [ToolImage(image=image) for image in images]
        if tool.need == Need.FEATURES and extractor is not None:
            inputs = [ToolImage(features_D=features_D) for features_D in extractor.extract(list(images))]
        judgements = tool.score(inputs)
        if any(aspect not in one.scores for one in judgements):
            raise InvalidInput(f"tool {tool.name!r} gives no score of {aspect!r} for this image")
        return np.array([one.scores[aspect] for one in judgements])

    return score


def adapter_scorer(
    extractor: Extractor,
    base: BaseScorer,
    adapter: Adapter | None,
    aspect: str,
    preference: Sequence[float] | None = None,
) -> Scorer:
    """One aspect of a user's scores; without an adapter, of the generic scores.

    Raises:
        InvalidInput: the base model has no such aspect, or another extractor.
    """
    if aspect not in base.aspects:
        raise InvalidInput(f"base model {base.name!r} has no aspect {aspect!r}; known: {', '.join(base.aspects)}")
    if extractor.digest != base.extractor_digest:
        raise InvalidInput(f"extractor {extractor.digest[:12]} is not that of base model {base.name!r}")
    a = base.aspects.index(aspect)

    def score(images: Sequence[Image.Image]) -> np.ndarray:
        scores = []
        for start in range(0, len(images), _BATCH):
            features_BD = extractor.extract(list(images[start : start + _BATCH]))
            if not np.isfinite(features_BD.astype(np.float64)).all():
                raise InvalidInput("the base model refuses this image")
            taste_BR = base.project(features_BD, tuple(preference) if preference else None)
            generic_BA = base.generic(taste_BR)
            scores.append((generic_BA if adapter is None else adapter.score(taste_BR, generic_BA))[:, a])
        return np.concatenate(scores).astype(np.float64)

    return score
