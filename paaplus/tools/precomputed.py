"""Precomputed scores as a tool: a CSV with the column `image`, a column per aspect, and optionally `confidence`.

Scores are 0-10. `confidence` (0-1) is for all aspects of its row; a row without one gets `UNKNOWN_CONFIDENCE`. An empty
cell is no score.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paaplus.errors import InvalidInput
from paaplus.ids import sha256_hex
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

    need = Need.NAME

    @property
    def aspects(self) -> tuple[str, ...]:
        return tuple(sorted({aspect for one in self.judgements.values() for aspect in one.scores}))

    def score(self, images: Sequence[ToolImage]) -> list[Judgement]:
        return [self._look_up(one) for one in images]

    def _look_up(self, one: ToolImage) -> Judgement:
        known = [self.judgements[name] for name in one.names if name in self.judgements]
        return known[0] if known else Judgement({}, {})


def check_name(name: str) -> None:
    """Check the name of a source of precomputed scores.

    Raises:
        InvalidInput: it is neither `precomputed` nor `precomputed:SOURCE`.
    """
    if not _TOOL_NAME.fullmatch(name):
        raise InvalidInput(f"tool {name!r:.80}: must be {NAME!r} or '{NAME}:source', with a source of a-z 0-9 . _ -")


def read_csv(file: Path, name: str = NAME) -> PrecomputedTool:
    """Read a tool from a CSV; its version is the digest of the file.

    Raises:
        InvalidInput: wrong columns, a cell that is no number in range, or an image twice; the message has the line.
    """
    check_name(name)
    judgements: dict[str, Judgement] = {}
    try:
        data = file.read_bytes()
        reader = csv.DictReader(data.decode("utf-8-sig").splitlines())
        fields = list(reader.fieldnames or ())
        aspects = [field for field in fields if field not in ("image", "confidence")]
        if "image" not in fields or not aspects or len(set(fields)) != len(fields):
            raise InvalidInput(f"needs columns image, one or more aspects, maybe confidence; has {fields[:20]}")
        if bad := [aspect for aspect in aspects if not (0 < len(aspect) <= _ASPECT_MAX and aspect.isprintable())]:
            raise InvalidInput(f"aspects {bad[:5]}: 1 to {_ASPECT_MAX} printable characters")
        for row in reader:
            if len(judgements) == MAX_ROWS:
                raise InvalidInput(f"more than {MAX_ROWS} rows")
            image, judgement = _row(row, aspects, reader.line_num)
            if image in judgements:
                raise InvalidInput(f"line {reader.line_num}: image {image!r} is there twice")
            judgements[image] = judgement
    except (OSError, UnicodeDecodeError, csv.Error, InvalidInput) as error:
        raise InvalidInput(f"{file.name}: {error}") from error
    return PrecomputedTool(judgements, sha256_hex(data)[:16], name)


def _row(row: dict[str, str], aspects: Sequence[str], line: int) -> tuple[str, Judgement]:
    if None in row or any(value is None for value in row.values()):
        raise InvalidInput(f"line {line}: not as many cells as the header")
    if not row["image"]:
        raise InvalidInput(f"line {line}: no image")
    try:
        confidence = float(row["confidence"]) if row.get("confidence") else UNKNOWN_CONFIDENCE
        scores = {aspect: float(row[aspect]) for aspect in aspects if row[aspect].strip()}
        return row["image"], Judgement(scores, dict.fromkeys(scores, confidence))
    except (ValueError, InvalidInput) as error:
        raise InvalidInput(f"line {line}: {error}") from error
