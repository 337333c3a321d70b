"""Precomputed scores as a tool: a CSV with the column `image`, a column per aspect, and optionally `confidence`.

Scores are 0-10. `confidence` (0-1) is for all aspects of its row; a row without one gets `UNKNOWN_CONFIDENCE`. An empty
cell is no score.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paaplus.csv_files import STANDARD, CsvFormat, CsvRow, parse_csv
from paaplus.errors import InvalidInput
from paaplus.ids import sha256_hex
from paaplus.texts import checked_id
from paaplus.tools.tool import Judgement, Need, ToolImage

NAME = "precomputed"
UNKNOWN_CONFIDENCE = 0.5
MAX_ROWS = 1_000_000
_TOOL_NAME = re.compile(rf"{NAME}(:[a-z0-9][a-z0-9._-]{{0,39}})?")
_ASPECT_MAX = 64


@dataclass(frozen=True, eq=False)
class PrecomputedTool:
    """Finds each image by one of its names. An image without a row gets a judgement without scores."""

    judgements: Mapping[str, Judgement]  # by name of the image
    version: str
    name: str = NAME
    line_of: Mapping[str, int] = field(default_factory=dict)  # name of an image -> its line in the file

    need = Need.NAME

    @property
    def aspects(self) -> tuple[str, ...]:
        return tuple(sorted({aspect for one in self.judgements.values() for aspect in one.scores}))

    def score(self, images: Sequence[ToolImage]) -> list[Judgement]:
        return [self._look_up(one) for one in images]

    def _look_up(self, one: ToolImage) -> Judgement:
        known = [self.judgements[name] for name in one.names if name in self.judgements]
        return known[0] if known else Judgement({}, {})


def is_name(name: str) -> bool:
    """Whether a name is `precomputed` or `precomputed:SOURCE`."""
    return _TOOL_NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Check the name of a source of precomputed scores.

    Raises:
        InvalidInput: it is neither `precomputed` nor `precomputed:SOURCE`.
    """
    if not is_name(name):
        raise InvalidInput(f"tool {name!r:.80}: must be {NAME!r} or '{NAME}:source', with a source of a-z 0-9 . _ -")


def read_csv(file: Path, name: str = NAME, layout: CsvFormat = STANDARD) -> PrecomputedTool:
    """Read a tool from a CSV; its version is the digest of the file.

    Raises:
        InvalidInput: wrong columns, a cell that is no number in range, or an image twice; the message has the line.
    """
    check_name(name)
    data = file.read_bytes()
    table = parse_csv(data, file.name, ("image",), ("confidence",), layout)
    aspects = [column for column in table.columns if column not in ("image", "confidence")]
    if not aspects:
        raise InvalidInput(f"{file.name}, line 1: no column of an aspect; found {list(table.columns)}")
    if len(table.rows) > MAX_ROWS:
        raise InvalidInput(f"{file.name}: {len(table.rows)} rows; at most {MAX_ROWS} are read")
    for aspect in aspects:
        try:
            checked_id(aspect, _ASPECT_MAX, "the column of an aspect")
        except InvalidInput as error:
            raise InvalidInput(f"{file.name}, line 1: {error}") from error
    first_line: dict[str, int] = {}

    def parse(row: CsvRow) -> tuple[str, Judgement]:
        image = row.text("image")
        if first_line.setdefault(image, row.line) != row.line:
            raise InvalidInput(f"image {image!r} is on line {first_line[image]} too")
        given = {aspect: row.number(aspect) for aspect in aspects}
        scores = {aspect: score for aspect, score in given.items() if score is not None}
        confidence = row.number("confidence") if "confidence" in row.cells else None
        return image, Judgement(scores, dict.fromkeys(scores, UNKNOWN_CONFIDENCE if confidence is None else confidence))

    return PrecomputedTool(dict(table.read(parse)), sha256_hex(data)[:16], name, first_line)
