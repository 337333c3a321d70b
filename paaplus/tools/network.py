"""A tool that judges by a network; the worker loads the network and gives it as a callable. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from paaplus.errors import InvalidInput
from paaplus.tools.pixels import MIN_SIDE_PX
from paaplus.tools.tool import Judgement, Need, ToolImage, within_width

# A guess: the standard deviation of a person's rating around such a network's score, before reviews calibrate the tool.
GUESSED_SD = 1.2
GUESSED_CONFIDENCE = within_width(GUESSED_SD)


@dataclass(frozen=True, eq=False)
class NetworkTool:
    """Judges one image at a time: the same bits alone and in any batch."""

    name: str
    version: str
    aspects: tuple[str, ...]
    judge: Callable[[Image.Image], Judgement]

    need = Need.PIXELS

    def score(self, images: Sequence[ToolImage]) -> list[Judgement]:
        return [self.judge(picture_of(one)) for one in images]


def picture_of(one: ToolImage) -> Image.Image:
    """The image's pixels.

    Raises:
        InvalidInput: fewer than `MIN_SIDE_PX` on a side.
    """
    assert one.image is not None, "this tool looks at pixels"
    if min(one.image.size) < MIN_SIDE_PX:
        raise InvalidInput(f"{one.image.size[0]} x {one.image.size[1]} pixels: too few to judge")
    return one.image
