"""Names, texts and ids that people and programs choose: one rule for all of them.

* A name is one line: a user's, an expert's or a key's name, a title, an option.
* A text may have several lines: a reason.
* An id is compared and never changed, so what a name would be corrected to is refused.

Names and texts are stored in Unicode's form NFC and without spaces at their ends. Lengths are in characters (code
points). Every script is allowed, with its spaces and joiners. What is refused is named in the message.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable
from typing import Any, Final, NoReturn

from paaplus.errors import InvalidInput

# Spaces, and what pasted texts have beside them and nobody sees: zero-width spaces and byte order marks. Joiners are
# left: in Nepali and in pictographs they end a word.
SPACES = " \t\r\n" + "".join(
    map(chr, (0xA0, 0x1680, *range(0x2000, 0x200C), 0x2028, 0x2029, 0x202F, 0x205F, 0x2060, 0x3000, 0xFEFF))
)
FILE_NAME_MAX_BYTES: Final = 255
_UNSEEN = {*SPACES, "\u115f", "\u1160", "\u2800", "\u3164", "\uffa0"}  # letters of Hangul and braille without ink
_LINES = {"\n", "\t"}
# Not yet assigned when this Python was made, but reserved by Unicode for pictographs and ideographs: newer phones and
# names use them. Two in each plane are no characters.
_RESERVED = ((0x1F000, 0x1FAFF), (0x20000, 0x3FFFD))
# They show what follows in another direction: a file `gpj.exe` as `exe.jpg`. Ids and file names need none of them.
_DIRECTIONS = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
_REFUSED = {"Cc": "a control character", "Cs": "half of a surrogate pair", "Cn": "not a character of Unicode"}


def clean_name(text: str, max_length: int, what: str = "the name") -> str:
    """One line of text, normalized and trimmed.

    Raises:
        InvalidInput: it is empty or too long, or has a character that no name needs.
    """
    return _bounded(trimmed_name(text, what), max_length, what)


def clean_text(text: str, max_length: int, what: str = "the text") -> str:
    """A text of one or more lines, normalized and trimmed; a line ends in LF.

    Raises:
        InvalidInput: it is empty or too long, or has a control character other than tab and line ends.
    """
    return _bounded(trimmed_text(text, what), max_length, what)


def trimmed_name(text: str, what: str = "the name") -> str:
    """As `clean_name`, of any length."""
    text = _normalized(text)
    _check_characters(text, frozenset(), what)
    return text


def trimmed_text(text: str, what: str = "the text") -> str:
    """As `clean_text`, of any length."""
    text = _normalized(text.replace("\r\n", "\n").replace("\r", "\n"))
    _check_characters(text, frozenset(_LINES), what)
    return text


def checked_id(text: str, max_length: int, what: str = "the id") -> str:
    """Check an id. It stays as it is, because programs compare it.

    Raises:
        InvalidInput: it is empty or too long, begins or ends with a space, is not in form NFC, or has a control
            character or a line end.
    """
    return _bounded(checked_id_characters(text, what), max_length, what)


def checked_id_characters(text: str, what: str = "the id") -> str:
    """As `checked_id`, of any length."""
    if text.isascii() and text.isprintable() and text == text.strip(SPACES):  # most are
        return text
    _check_characters(text, frozenset(), what)
    for position, character in enumerate(text):
        if unicodedata.category(character) in ("Zl", "Zp"):
            raise InvalidInput(f"{what} has {_described(character)} at position {position + 1}: it ends a line")
        if character in _DIRECTIONS:
            raise InvalidInput(f"{what} has {_described(character)} at position {position + 1}: it turns the text")
    if text != text.strip(SPACES):
        raise InvalidInput(f"{what} {text!r:.80} begins or ends with a space")
    if not unicodedata.is_normalized("NFC", text):
        raise InvalidInput(
            f"{what} {text!r:.80} is not in Unicode's form NFC: some accents are characters of their own"
        )
    return text


def cleaned(clean: Callable[[str], Any]) -> Callable[[Any], Any]:
    """A validator of pydantic that cleans what is a text, and leaves the refusal of anything else to the type.

    It runs before the length is looked at, so that lengths are those of what is stored.
    """

    def validate(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return clean(value)
        except InvalidInput as error:
            raise ValueError(str(error)) from error

    return validate


def is_id(value: Any) -> bool:
    """Whether a value is a text that `checked_id` accepts, whatever its length."""
    try:
        return isinstance(value, str) and bool(checked_id_characters(value))
    except InvalidInput:
        return False


def without_refused(text: str) -> str:
    """A name without the characters that would be refused, for names that nobody chose, such as those of files."""
    return _normalized("".join(c for c in text if _fault(c, frozenset()) is None and c not in _DIRECTIONS))


def printable(path: str) -> str:
    """A path as it can be printed and stored. Bytes that are no UTF-8, as old archives have them, become `\\udcff`."""
    return path.encode("utf-8", "backslashreplace").decode()


def fitting_name(stem: str, suffix: str) -> str:
    """A file's name that file systems take: of a name that is too long, the end of its stem is left out."""
    if len(os.fsencode(stem + suffix)) <= FILE_NAME_MAX_BYTES:
        return stem + suffix
    room = FILE_NAME_MAX_BYTES - len(os.fsencode(suffix))
    return os.fsencode(stem)[:room].decode("utf-8", "ignore") + suffix


def parse_json(text: str | bytes, what: str) -> Any:
    """What a JSON document says. Nothing is said twice, and every number is one.

    Raises:
        InvalidInput: no JSON, a key that is twice in one object, NaN or an infinity, or nested too deeply.
    """
    if isinstance(text, str):
        text = text.removeprefix("\ufeff")  # with which some editors begin a file
    try:
        return json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{what}: {error}") from error


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"{', '.join(doubled)} occurs twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


def _normalized(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip(SPACES)


def _bounded(text: str, max_length: int, what: str) -> str:
    if not text:
        raise InvalidInput(f"{what} is empty")
    if len(text) > max_length:
        raise InvalidInput(f"{what} has {len(text)} characters; at most {max_length} are accepted")
    return text


def _check_characters(text: str, allowed: frozenset[str], what: str) -> None:
    if text.isascii() and text.isprintable():  # most are: no need to look at each character
        return
    for position, character in enumerate(text):
        if fault := _fault(character, allowed):
            raise InvalidInput(f"{what} has {_described(character)} at position {position + 1}: {fault}")
    if text and all(c in _UNSEEN or unicodedata.category(c) == "Cf" for c in text):
        raise InvalidInput(f"{what} {text!r:.80} has no character that can be seen")


def _fault(character: str, allowed: frozenset[str]) -> str | None:
    category = unicodedata.category(character)
    if character in allowed or category not in _REFUSED:
        return None
    code = ord(character)
    if category == "Cn" and code & 0xFFFE != 0xFFFE and any(first <= code <= last for first, last in _RESERVED):
        return None
    return _REFUSED[category]


def _described(character: str) -> str:
    return f"U+{ord(character):04X}" + (f" ({name})" if (name := unicodedata.name(character, "")) else "")
