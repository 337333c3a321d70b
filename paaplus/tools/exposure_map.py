"""The tool `exposure_map`: P-IEANet's signed exposure error of every pixel, and scores computed from it. NumPy only.

The map is above 0 where the image is darker than ideal and below 0 where it is brighter, cut to -1..1. A score of 10 is
the best: `under` and `over` fall with the share of pixels beyond a threshold, `exposure` with the mean absolute error;
the other aspects are the presets of `scoring.exposure_rules`. Scores are measures, so the confidence is 1.

Shape letters: H, W = pixels of the map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from paaplus.errors import InvalidInput
from paaplus.records import SCORE_MAX
from paaplus.scoring import exposure_rules
from paaplus.tools.files import TOOL_FILES
from paaplus.tools.maps import ToolMap
from paaplus.tools.network import picture_of
from paaplus.tools.tool import Judgement, Need, ToolImage, on_scale

NAME = "exposure_map"
WORST_MEAN = 0.4  # mean distance that gets 0 points; all black is .34, all white .50
LOW, HIGH = -0.5, 0.5
MEANING = "Blue is too bright, red too dark."


@dataclass(frozen=True, eq=False)
class ExposureMapTool:
    """The tool over a network that gives the raw map of an image, shape (H, W)."""

    version: str
    network: Callable[[Image.Image], np.ndarray]

    name = NAME
    need = Need.PIXELS
    aspects = TOOL_FILES[NAME].aspects

    def score(self, images: Sequence[ToolImage]) -> list[Judgement]:
        return [judge(self._map(one)) for one in images]

    def map(self, image: ToolImage) -> ToolMap:
        """The signed map; see `MEANING`."""
        return ToolMap(NAME, self._map(image).astype(np.float16), LOW, HIGH, MEANING)

    def _map(self, one: ToolImage) -> np.ndarray:
        values_HW = self.network(picture_of(one))
        if not np.isfinite(values_HW).all():
            raise InvalidInput("the network gives numbers that are not finite")
        cut_HW: np.ndarray = np.clip(values_HW, -1.0, 1.0)
        return cut_HW


def judge(map_HW: np.ndarray) -> Judgement:
    """Scores of a map, all with confidence 1."""
    shares = exposure_rules.shares(map_HW)
    scores = {
        "under": SCORE_MAX * (1.0 - shares.under),
        "over": SCORE_MAX * (1.0 - shares.over),
        "exposure": SCORE_MAX - on_scale(float(np.abs(map_HW).mean(dtype=np.float64)), 0.0, WORST_MEAN),
    }
    for preset, rule in exposure_rules.PRESETS.items():
        scores[f"exposure_{preset}"] = rule(shares)
    return Judgement(scores, dict.fromkeys(scores, 1.0))
