"""Read a file of pseudo labels and people's ratings of the same images.

A CSV (or CSV.gz) with one row per image and, for each pair, a column of the tool and a column of the people. By default
these are `tool_NAME` and `human_NAME`. The file of ICAA17K with CLIP's shares is known by its columns. A tool's column
is read as scores of 0-10, or standardized: `5 + (share - mean) * 10 / (6 standard deviations)`, cut to 0-10.

Shape letters: N = images with both labels.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paaplus.csv_files import CsvTable, parse_csv
from paaplus.errors import InvalidInput
from paaplus.records import SCORE_MAX, SCORE_MIN

_ICAA17K = {  # the prompts that the columns of shares are named after, and what people were asked
    "overall colour (beautiful)": ("clip_share_beautiful", "human_colour"),
    "colourfulness": ("clip_share_colourful", "human_colourfulness"),
    "temperature": ("clip_share_warm", "human_temperature"),
    "harmony": ("clip_share_harmonious", "human_harmony"),
}
_ICAA17K_THEME = ("kind", "colours")
_SPREAD_SDS = 6.0  # standard deviations that a standardized column spreads over the scale


@dataclass(frozen=True)
class LabelledImages:
    """What a tool and people say of the same images, under one name.

    Attributes:
        name: the pair's.
        tool_N: pseudo labels, 0-10.
        human_N: people's ratings, 0-10.
        theme_N: themes; None: the file has none.
    """

    name: str
    tool_N: np.ndarray
    human_N: np.ndarray
    theme_N: np.ndarray | None


def read_label_file(
    file: Path, pairs: Sequence[tuple[str, str]] = (), standardize: bool = False
) -> list[LabelledImages]:
    """Read every pair of columns; rows without one of the two labels are left out of that pair.

    Args:
        file: a CSV or CSV.gz.
        pairs: (tool's column, people's column); none: as the module describes.
        standardize: standardize the tool's columns. The file of ICAA17K always is.

    Raises:
        InvalidInput: no CSV, no pair of columns, a cell that is no number, or a number outside 0-10; with its line.
    """
    table = _table(file)
    header = list(table.columns)
    named = {human.removeprefix("human_"): (tool, human) for tool, human in pairs}
    theme: Sequence[str] = ("theme",) if "theme" in header else ()
    if not named and all(column in header for pair in _ICAA17K.values() for column in pair):
        named, standardize = dict(_ICAA17K), True
        theme = [name for name in _ICAA17K_THEME if name in header]
    elif not named:
        tools = [name.removeprefix("tool_") for name in header if name.startswith("tool_")]
        named = {name: (f"tool_{name}", f"human_{name}") for name in tools if f"human_{name}" in header}
    if not named:
        raise InvalidInput(f"{file.name}: no columns tool_NAME and human_NAME; give --pairs; found {header[:20]}")
    if missing := sorted({column for pair in named.values() for column in pair} - set(header)):
        raise InvalidInput(f"{file.name}: no column {missing[0]!r}; found {header[:20]}")
    return [_labelled(table, name, *pair, theme, standardize) for name, pair in named.items()]


def _table(file: Path) -> CsvTable:
    try:
        data = file.read_bytes()
        data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{file.name}: {error}") from error
    table = parse_csv(data, file.name, ())
    if not table.rows:
        raise InvalidInput(f"{file.name}: no rows")
    return table


def _labelled(
    table: CsvTable,
    name: str,
    tool: str,
    human: str,
    theme: Sequence[str],
    standardize: bool,
) -> LabelledImages:
    value_N2 = np.array(table.read(lambda row: [row.number(column) for column in (tool, human)]), float)  # None: NaN
    known_N = ~np.isnan(value_N2).any(axis=1)
    if known_N.sum() < 3:
        raise InvalidInput(f"{table.name}: {int(known_N.sum())} rows with {tool} and {human}")
    tool_N, human_N = value_N2[known_N].T
    if standardize:
        sd = float(tool_N.std())
        if sd == 0.0:
            raise InvalidInput(f"{table.name}: {tool} is the same for all images")
        middle, half = (SCORE_MIN + SCORE_MAX) / 2, (SCORE_MAX - SCORE_MIN) / 2
        tool_N = np.clip(middle + (tool_N - tool_N.mean()) / sd * 2 * half / _SPREAD_SDS, SCORE_MIN, SCORE_MAX)
    for column, value_N in ((tool, tool_N), (human, human_N)):
        if value_N.min() < SCORE_MIN or value_N.max() > SCORE_MAX:
            raise InvalidInput(f"{table.name}: {column} is not within 0-10; a tool's column can be standardized")
    themes = None
    if theme:
        known = [row.cells for row, is_known in zip(table.rows, known_N.tolist(), strict=True) if is_known]
        themes = np.array([" / ".join(row[column] for column in theme) for row in known])
    return LabelledImages(name, tool_N, human_N, themes)
