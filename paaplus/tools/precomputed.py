"""Anybody's scores as a tool: rows that name images. A CSV has `image`, a column an aspect, and maybe `confidence`.

Scores are 0-10. `confidence` (0-1) is about all aspects of its row; a row without one gets `UNKNOWN_CONFIDENCE`. An
empty cell says nothing.
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
    """Looks every image up by one of its names; one that no row names gets a judgement without scores."""

    judgements: Mapping[str, Judgement]  # by what the rows call an image
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
    """Refuse what cannot name a source of precomputed scores.

    Raises:
        InvalidInput: neither `precomputed` nor `precomputed:SOURCE`.
    """
    if not _TOOL_NAME.fullmatch(name):
        raise InvalidInput(
            f"tool {name!r:.80}: scores come in under {NAME!r} or '{NAME}:source', source of a-z 0-9 . _ -"
        )


def read_csv(file: Path, name: str = NAME) -> PrecomputedTool:
    """The tool that a CSV makes; its version is the digest of the file.

    Raises:
        InvalidInput: another shape, a number that is none or out of range, or an image twice; the line is told.
    """
    check_name(name)
    judgements: dict[str, Judgement] = {}
    try:
        data = file.read_bytes()
        reader = csv.DictReader(data.decode("utf-8-sig").splitlines())
        fields = list(reader.fieldnames or ())
        aspects = [field for field in fields if field not in ("image", "confidence")]
        if "image" not in fields or not aspects or len(set(fields)) != len(fields):
            raise InvalidInput(f"needs columns image, one or more aspects, and maybe confidence; has {fields[:20]}")
        if bad := [aspect for aspect in aspects if not (0 < len(aspect) <= _ASPECT_MAX and aspect.isprintable())]:
            raise InvalidInput(f"aspects {bad[:5]}: 1 to {_ASPECT_MAX} printable characters")
        for row in reader:
            if len(judgements) == MAX_ROWS:
                raise InvalidInput(f"more than {MAX_ROWS} rows")
            image, judgement = _row(row, aspects, reader.line_num)
            if image in judgements:
                raise InvalidInput(f"line {reader.line_num}: image {image!r} was there before")
            judgements[image] = judgement
    except (OSError, UnicodeDecodeError, csv.Error, InvalidInput) as error:
        raise InvalidInput(f"{file.name}: {error}") from error
    return PrecomputedTool(judgements, sha256_hex(data)[:16], name)


def _row(row: dict[str, str], aspects: Sequence[str], line: int) -> tuple[str, Judgement]:
    if None in row or any(value is None for value in row.values()):
        raise InvalidInput(f"line {line}: another number of cells than the header has")
    if not row["image"]:
        raise InvalidInput(f"line {line}: names no image")
    try:
        confidence = float(row["confidence"]) if row.get("confidence") else UNKNOWN_CONFIDENCE
        scores = {aspect: float(row[aspect]) for aspect in aspects if row[aspect].strip()}
        return row["image"], Judgement(scores, dict.fromkeys(scores, confidence))
    except (ValueError, InvalidInput) as error:
        raise InvalidInput(f"line {line}: {error}") from error
