"""Read CSV files: the one strict reader of all tables that people hand in.

Every row has a value under every column, every column has a name of its own, and an error says where it is. Cells are
read without spaces around them and in Unicode's form NFC. A cell may contain any character between quotes.
"""

from __future__ import annotations

import codecs
import csv
import io
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from paaplus.errors import InvalidInput
from paaplus.numbers import parse_number
from paaplus.texts import SPACES

MAX_TOLD = 10  # wrong rows that one error lists
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would carry out
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_RARE_DELIMITERS = {"="}  # of published releases
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_AROUND = SPACES + "\v\f"
NEAR = 0.88  # as similar as `scenes` to `scene`, and `occured_at` to `occurred_at`

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class CsvFormat:
    """How a CSV file is written: what is between cells, and what before decimals."""

    delimiter: str = ","
    decimal_mark: str = "."

    def __post_init__(self) -> None:
        if self.delimiter not in _DELIMITERS.keys() | _RARE_DELIMITERS:
            raise InvalidInput(f"delimiter {self.delimiter!r}: one of , ; | = or a tab")
        if self.decimal_mark not in (".", ","):
            raise InvalidInput(f"decimal mark {self.decimal_mark!r}: a point or a comma")


STANDARD = CsvFormat()


@dataclass(frozen=True)
class CsvRow:
    """One row. `line` is the line on which it begins; 1 is the header."""

    line: int
    cells: dict[str, str]
    decimal_mark: str = "."

    def text(self, column: str) -> str:
        """The cell under a column.

        Raises:
            InvalidInput: it is empty.
        """
        if not self.cells[column]:
            raise InvalidInput(f"no {column}")
        return self.cells[column]

    def number(self, column: str) -> float | None:
        """The number under a column; None if the cell is empty.

        Raises:
            InvalidInput: the cell is not a number.
        """
        text = self.cells[column]
        try:
            return parse_number(text, self.decimal_mark) if text else None
        except InvalidInput as error:
            raise InvalidInput(f"column {column!r}: {error}") from None


@dataclass(frozen=True)
class CsvTable:
    """A file's columns and rows, in their order."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[CsvRow, ...]

    def read(self, read_row: Callable[[CsvRow], ResultT]) -> list[ResultT]:
        """What `read_row` makes of each row.

        Raises:
            InvalidInput: it refused rows; the message lists them with their lines.
        """
        results: list[ResultT] = []
        problems: list[str] = []
        for row in self.rows:
            try:
                results.append(read_row(row))
            except InvalidInput as error:
                problems.append(f"line {row.line}: {error}")
        refuse_rows(self.name, problems)
        return results


def refuse_rows(name: str, problems: Sequence[str]) -> None:
    """Raise the error that lists the wrong rows of a file, if there are any."""
    if len(problems) == 1:
        raise InvalidInput(f"{name}: {problems[0]}")
    if problems:
        more = f"; and {len(problems) - MAX_TOLD} more" if len(problems) > MAX_TOLD else ""
        raise InvalidInput(f"{name}: {len(problems)} bad row(s): {'; '.join(problems[:MAX_TOLD])}{more}")


def text_cell(text: str) -> str:
    """A cell of a table that is written: text that a spreadsheet would carry out as a formula is marked as text."""
    return f"'{text}" if text.startswith(FORMULA) else text


def read_csv(file: Path, needed: Sequence[str], known: Collection[str] = (), layout: CsvFormat = STANDARD) -> CsvTable:
    """Read a CSV file in UTF-8.

    Args:
        file: the file.
        needed: columns that it must have.
        known: other columns that have a meaning; one of another case or with a near name is a mistake.
        layout: delimiter and decimal mark.

    Raises:
        InvalidInput: there is no such file, it is not UTF-8, a column is missing or occurs twice, or a row has more or
            fewer cells than the header. The message has the line.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise InvalidInput(f"{file} does not exist") from None
    return parse_csv(data, str(file), needed, known, layout)


def read_names(file: Path) -> list[str]:
    """The names in a text file in UTF-8, one per line; empty lines are skipped.

    Raises:
        InvalidInput: there is no such file, it is not UTF-8, or a name occurs twice; the message has the line.
    """
    try:
        text = _decoded(file.read_bytes())
    except FileNotFoundError:
        raise InvalidInput(f"{file} does not exist") from None
    except CsvFault as error:
        raise InvalidInput(f"{file}, {error}") from error
    first_line: dict[str, int] = {}
    for line, name in enumerate(map(plain_cell, io.StringIO(text, newline=None)), 1):
        if name and first_line.setdefault(name, line) != line:
            raise InvalidInput(f"{file}, line {line}: {name!r} is on line {first_line[name]} too")
    return list(first_line)


def parse_csv(
    data: bytes, name: str, needed: Sequence[str], known: Collection[str] = (), layout: CsvFormat = STANDARD
) -> CsvTable:
    """As `read_csv`, from the bytes of a file called `name`."""
    rows: list[CsvRow] = []
    problems: list[str] = []
    try:
        header, numbered = _cells(data, layout)
    except CsvFault as error:
        raise InvalidInput(f"{name}, line {error.line}: {error.message}") from error
    columns = _columns(header, name, needed, known, layout)
    for line, values in numbered:
        if len(values) == len(columns):
            rows.append(CsvRow(line, dict(zip(columns, values, strict=True)), layout.decimal_mark))
        else:
            problems.append(f"line {line}: {_ragged(values, columns, layout)}")
    refuse_rows(name, problems)
    return CsvTable(name, columns, tuple(rows))


class CsvFault(InvalidInput):
    """A file cannot be read as CSV from a line on."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")
        self.line, self.message = line, message


def read_cells(file: Path, layout: CsvFormat = STANDARD) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header of a CSV file, and its other rows with the lines on which they begin, however many cells they have.

    Raises:
        CsvFault: it is not UTF-8, or no CSV.
    """
    return _cells(file.read_bytes(), layout)


def _cells(data: bytes, layout: CsvFormat) -> tuple[list[str], list[tuple[int, list[str]]]]:
    # newline="": the reader itself ends rows, at CR and LF only. `str.splitlines` would also cut at \v and U+2028.
    reader = csv.reader(io.StringIO(_decoded(data), newline=""), delimiter=layout.delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    start = 1
    try:
        for values in reader:
            if values or start == 1:  # an empty line is no row
                rows.append((start, [plain_cell(value) for value in values]))
            start = reader.line_num + 1
    except csv.Error as error:
        # Told where the cell begins, not where the file, or the patience, ends.
        if "unexpected end" in str(error):
            raise CsvFault(start, "a cell begins with a quotation mark and never ends") from error
        if "field limit" in str(error):
            limit = csv.field_size_limit()
            raise CsvFault(
                start, f"a cell has more than {limit} characters; does a quotation mark lack its end?"
            ) from error
        raise CsvFault(max(reader.line_num, 1), str(error)) from error
    return (rows[0][1], rows[1:]) if rows else ([], [])


def _decoded(data: bytes) -> str:
    if data.startswith(_UTF_16):
        raise CsvFault(1, "the file is UTF-16 or UTF-32; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CsvFault(line, f"not UTF-8: byte {data[error.start]:#04x}; save the file as UTF-8") from error
    if "\0" in text:
        raise CsvFault(
            text.count("\n", 0, text.index("\0")) + 1, "a NUL character: if the file is UTF-16, save it as UTF-8"
        )
    return text


def plain_cell(value: str) -> str:
    """A cell as it is read: in form NFC, without spaces around it. So are names that cells are compared with."""
    return unicodedata.normalize("NFC", value).strip(_AROUND)


def _columns(
    header: list[str], name: str, needed: Sequence[str], known: Collection[str], layout: CsvFormat
) -> tuple[str, ...]:
    columns = tuple(header)
    place = f"{name}, line 1"
    if not any(columns):
        raise InvalidInput(f"{place}: no column {', '.join(map(repr, needed))}; the first line has no names")
    if columns[0].lower().startswith("sep="):
        raise InvalidInput(f"{place}: {columns[0]!r} is a note to a spreadsheet; remove it, and name the delimiter")
    for position, column in enumerate(columns, 1):
        if column in columns[: position - 1]:
            raise InvalidInput(
                f"{place}: column {column!r} occurs twice, in places {columns.index(column) + 1} and {position}"
            )
    meant = {wanted.casefold(): wanted for wanted in (*needed, *known)}
    for column in columns:
        if (wanted := meant.get(column.casefold())) and wanted != column:
            raise InvalidInput(f"{place}: column {column!r} must be written {wanted!r}")
    others = [column for column in columns if column not in (*needed, *known)]
    for wanted in known:
        if wanted not in columns and (near := get_close_matches(wanted, others, 1, NEAR)):
            raise InvalidInput(f"{place}: column {near[0]!r} has no meaning; if it is {wanted!r}, write it so")
    if missing := [wanted for wanted in needed if wanted not in columns]:
        wanted = ", ".join(map(repr, missing))
        raise InvalidInput(f"{place}: no column {wanted}; found {list(columns)[:20]}{_other_delimiter(header, layout)}")
    return columns


def _other_delimiter(header: Sequence[str], layout: CsvFormat) -> str:
    """Advice if the header looks as if its delimiter were another one."""
    for other, word in _DELIMITERS.items():
        if other != layout.delimiter and any(other in cell for cell in header):
            return f"; is the delimiter {other!r} ({word})? The one in use is {layout.delimiter!r}"
    return ""


def _ragged(values: Sequence[str], columns: Sequence[str], layout: CsvFormat) -> str:
    advice = ""
    if len(values) > len(columns) and layout.delimiter == ",":
        advice = ": a decimal comma, or a comma in a cell without quotes?"
    return f"{len(values)} values under {len(columns)} columns{advice}"
