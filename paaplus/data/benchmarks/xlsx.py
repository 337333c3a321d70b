"""Read the first sheet of an Excel file: what SPAQ's labels come in. No formulas, no dates."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile, ZipFile

from defusedxml import DefusedXmlException, ElementTree  # refuses entities

from paaplus.errors import InvalidInput

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element  # nosec B405: for types only

_SPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_MAX_BYTES = 200_000_000  # of one part, unpacked


def read_sheet(file: Path) -> list[list[str]]:
    """The rows as text; an empty cell is an empty text.

    Raises:
        InvalidInput: not such a file.
    """
    try:
        with ZipFile(file) as parts:
            strings: list[str] = []
            if "xl/sharedStrings.xml" in parts.namelist():
                strings = [_text(one) for one in _root(parts, "xl/sharedStrings.xml").iter(f"{_SPACE}si")]
            sheet = _root(parts, "xl/worksheets/sheet1.xml")
            return [_row(row, strings) for row in sheet.iter(f"{_SPACE}row")]
    except (
        OSError,
        BadZipFile,
        KeyError,
        IndexError,
        ValueError,
        ElementTree.ParseError,
        DefusedXmlException,
    ) as error:
        raise InvalidInput(f"{file.name}: not an Excel file with a first sheet: {str(error)[:100]}") from error


def _root(parts: ZipFile, name: str) -> Element:
    if parts.getinfo(name).file_size > _MAX_BYTES:
        raise ValueError(f"{name} is too large")
    return ElementTree.fromstring(parts.read(name))


def _row(row: Element, strings: list[str]) -> list[str]:
    cells: list[str] = []
    for cell in row.iter(f"{_SPACE}c"):
        column = _column(cell.get("r", "")) or len(cells)
        cells += [""] * (column - len(cells))
        value = cell.findtext(f"{_SPACE}v") or ""
        kind = cell.get("t")
        cells.append(strings[int(value)] if kind == "s" else _text(cell) if kind == "inlineStr" else value)
    return cells


def _column(reference: str) -> int:
    """The number of a column, from 0: "A1" is 0, "AB3" is 27."""
    letters = re.match(r"[A-Z]*", reference)
    number = 0
    for letter in letters.group() if letters else "":
        number = 26 * number + ord(letter) - ord("A") + 1
    return max(number - 1, 0)


def _text(element: Element) -> str:
    return "".join(one.text or "" for one in element.iter(f"{_SPACE}t"))
