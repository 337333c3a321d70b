"""Maps: a tool's numbers for every place of an image, as an array and as a picture. NumPy and Pillow only.

Shape letters: H, W = the map's pixels, which need not be the image's.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from paaplus.errors import InvalidInput
from paaplus.tools.tool import ToolImage

_BLUE, _WHITE, _RED = (np.array(rgb, np.float64) for rgb in ((33, 102, 172), (247, 247, 247), (178, 24, 43)))


@dataclass(frozen=True, eq=False)
class ToolMap:
    """One tool's map of one image, float16, shape (H, W), rows from the top.

    `low` and `high` are the ends of the colour scale; numbers beyond them are kept. `meaning` is one sentence for
    whoever looks at the picture.

    Raises:
        InvalidInput: numbers that are not finite.
    """

    name: str
    values_HW: np.ndarray
    low: float
    high: float
    meaning: str

    def __post_init__(self) -> None:
        assert self.values_HW.ndim == 2
        assert self.values_HW.dtype == np.float16
        assert self.low < self.high
        if not np.isfinite(self.values_HW).all():
            raise InvalidInput(f"map {self.name}: numbers that are not finite")


@runtime_checkable
class Maps(Protocol):
    """A tool that draws maps."""

    def map(self, image: ToolImage) -> ToolMap:
        """The tool's map of one image.

        Raises:
            InvalidInput: an image that this tool cannot look at.
        """


def to_npy(tool_map: ToolMap) -> bytes:
    """The numbers as NumPy's file: `numpy.load` reads it."""
    file = io.BytesIO()
    np.save(file, tool_map.values_HW, allow_pickle=False)
    return file.getvalue()


def from_npy(data: bytes, name: str, low: float, high: float, meaning: str) -> ToolMap:
    """What `to_npy` wrote, with what belongs to it."""
    return ToolMap(name, np.load(io.BytesIO(data), allow_pickle=False), low, high, meaning)


def to_png(tool_map: ToolMap) -> bytes:
    """The map in diverging colours, blue at `low`, white in the middle, red at `high`; the same bytes every time."""
    middle = (tool_map.low + tool_map.high) / 2
    place_HW = np.clip((tool_map.values_HW.astype(np.float64) - middle) / (tool_map.high - middle), -1.0, 1.0)
    end_HW3 = np.where(place_HW[..., None] < 0, _BLUE, _RED)
    rgb_HW3 = _WHITE + np.abs(place_HW)[..., None] * (end_HW3 - _WHITE)
    told = PngInfo()
    told.add_text("Description", f"{tool_map.meaning} Colours from {tool_map.low:g} to {tool_map.high:g}.")
    file = io.BytesIO()
    Image.fromarray(np.rint(rgb_HW3).astype(np.uint8)).save(file, "PNG", pnginfo=told)
    return file.getvalue()
