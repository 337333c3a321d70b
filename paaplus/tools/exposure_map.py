"""Where an image is too dark or too bright: P-IEANet's map, and scores of the shares that are. NumPy only.

The map `m` says how far each place is from its ideal exposure, above 0 darker, below 0 brighter, cut to -1..1. Scores
are 10 where all is well: `under` and `over` by the shares of places beyond a threshold, `exposure` by the mean
distance, and one score of each preset of `scoring.exposure_rules`. They are measures: the confidence is 1, as of
`pixels`.

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
