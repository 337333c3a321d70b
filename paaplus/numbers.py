"""Numbers in texts: in files, options and forms. Digits are 0 to 9; nothing is guessed.

Python's `float` and `int` also read `1_0`, ` 1 `, `nan` and other scripts' digits, which are typing mistakes here.
"""

from __future__ import annotations

import math
import re

from paaplus.errors import InvalidInput

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_MAX_LENGTH = 400


def parse_number(text: str, decimal_mark: str = ".") -> float:
    """The finite number that a text is, for example `-3.5` or `1e-4`.

    Raises:
        InvalidInput: it is none; the message says how it would be written if it is close to one.
    """
    written = text
    if decimal_mark != ".":
        written = text.replace(decimal_mark, ".") if "." not in text else ""
    if len(text) > _MAX_LENGTH or not _NUMBER.fullmatch(written):
        raise InvalidInput(f"{text!r:.60} is not a number{_advice(text, decimal_mark)}")
    value = float(written)
    if not math.isfinite(value):
        raise InvalidInput(f"{text!r:.60} is not a finite number: it is too large")
    return value


def parse_whole(text: str) -> int:
    """The whole number that a text is.

    Raises:
        InvalidInput: it is none, or has more than 18 digits.
    """
    if not _WHOLE.fullmatch(text):
        raise InvalidInput(f"{text!r:.60} is not a whole number")
    return int(text)


def parse_numbers(text: str, count: int | None = None) -> tuple[float, ...]:
    """Numbers with commas between them, as options have them; spaces around each are ignored.

    Raises:
        InvalidInput: one is no number, or there are more or fewer than `count`.
    """
    numbers = tuple(parse_number(part.strip()) for part in text.split(","))
    if count is not None and len(numbers) != count:
        raise InvalidInput(f"{text!r:.80} has {len(numbers)} numbers with commas between; {count} are needed")
    return numbers


def parse_wholes(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them.

    Raises:
        InvalidInput: one is no whole number.
    """
    return tuple(parse_whole(part.strip()) for part in text.split(","))


def _advice(text: str, decimal_mark: str) -> str:
    other = "," if decimal_mark == "." else "."
    if _NUMBER.fullmatch(text.replace(other, ".", 1)) and other in text:
        return f": decimals are after {decimal_mark!r} here"
    return ""
