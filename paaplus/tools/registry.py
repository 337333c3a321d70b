"""The AI tools by name. A new one is a function and a line in `AI_TOOLS`; the contract test then includes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from paaplus.errors import InvalidInput, Unavailable
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.tools import composition, files, pixels
from paaplus.tools.generic import GenericTool
from paaplus.tools.nima import NimaTool
from paaplus.tools.pixels import PixelTool
from paaplus.tools.precomputed import PrecomputedTool
from paaplus.tools.tool import Tool


@dataclass(frozen=True)
class ToolContext:
    """The inputs of tools; None: the deployment does not have it."""

    base: BaseScorer | None = None
    nima: NimaTool | None = None
    precomputed: PrecomputedTool | None = None
    networks: Mapping[str, Tool] = field(default_factory=dict)  # by name, those of `files.TOOL_FILES` that are there


def _generic(context: ToolContext) -> Tool:
    if context.base is None:
        raise Unavailable("tool 'generic' needs a base model: make one with `paaplus base-models train`")
    return GenericTool(context.base)


def _nima(context: ToolContext) -> Tool:
    if context.nima is None:
        raise Unavailable("tool 'nima' needs a file with a head: set PAAPLUS_NIMA_FILE")
    return context.nima


def _precomputed(context: ToolContext) -> Tool:
    if context.precomputed is None:
        raise InvalidInput(
            "tool 'precomputed' cannot be run: import its labels by `paaplus tools import` or "
            "POST /v1/pseudo-labels/precomputed"
        )
    return context.precomputed


def _network(name: str) -> Callable[[ToolContext], Tool]:
    def build(context: ToolContext) -> Tool:
        if name not in context.networks:
            raise Unavailable(f"tool {name!r} {files.needs(name)}")
        return context.networks[name]

    return build


AI_TOOLS: dict[str, Callable[[ToolContext], Tool]] = {
    "generic": _generic,
    "exposure": lambda _: PixelTool("exposure", "1", pixels.exposure),
    "colourfulness": lambda _: PixelTool("colourfulness", "1", pixels.colourfulness),
    "sharpness": lambda _: PixelTool("sharpness", "1", pixels.sharpness),
    "contrast": lambda _: PixelTool("contrast", "1", pixels.contrast),
    "composition": lambda _: PixelTool("composition", "1", composition.composition),
    "precomputed": _precomputed,
    "nima": _nima,
    **{name: _network(name) for name in files.TOOL_FILES},
}


def build(name: str, context: ToolContext) -> Tool:
    """Build the tool of this name.

    Raises:
        InvalidInput: there is no such tool.
        Unavailable: the deployment lacks an input of the tool.
    """
    if name not in AI_TOOLS:
        raise InvalidInput(f"tool {name!r:.80} does not exist; known: {', '.join(AI_TOOLS)}")
    return AI_TOOLS[name](context)
