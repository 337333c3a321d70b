"""English sentences of the gate and the services, told in the visitor's language.

The platform stores and raises plain English sentences; each is made from a fixed text with values in it. The pairs of
texts are in `sentences_of/LANGUAGE.json`. A sentence is taken apart by its English text, which gives the values, and
put together by the other. So sentences that were stored earlier are told too.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Final

ENGLISH: Final = "en"
_PLACE: Final = re.compile(r"\\\{(\w+)\\\}")
_ODDS: Final = "odds"
_WORDS: Final = frozenset({"what", "error"})  # places of any text; all others hold numbers
_NUMBER: Final = r"-?[\d.,]*\d(?:e[+-]?\d+)?"
_ODDS_PATTERN: Final = rf"(?:more than |less than )?{_NUMBER} to 1"

Pair = tuple[re.Pattern[str], str]


def of_gate(text: str, language: str) -> str:
    """The gate's sentences, one after another, in the language. What is no sentence of the gate stays as it is."""
    if language == ENGLISH:
        return text
    told, rest = [], text.strip()
    while rest:
        found = _first(rest, language)
        if found is None:
            return text
        told.append(found[0])
        rest = rest[found[1] :].lstrip()
    return "".join(told)


def of_error(text: str, language: str) -> str | None:
    """What a service says of an error, in the language; None: there is no text for it."""
    if language == ENGLISH:
        return text
    for pattern, other in _pairs(language, "errors"):
        if (match := pattern.fullmatch(text)) is not None:
            return _filled(other, match, language)
    return None


def _first(text: str, language: str) -> tuple[str, int] | None:
    """The sentence that the text begins with, told, and where it ends."""
    for pattern, other in _pairs(language, "gate"):
        if (match := pattern.match(text)) is not None and text[match.end() : match.end() + 1] in ("", " "):
            return _filled(other, match, language), match.end()
    return None


def _filled(other: str, match: re.Match[str], language: str) -> str:
    values = match.groupdict()
    if _ODDS in values:
        for pattern, odds in _pairs(language, _ODDS):
            if (found := pattern.fullmatch(values[_ODDS])) is not None:
                values[_ODDS] = odds.format(**found.groupdict())
                break
    return other.format(**values)


@cache
def _pairs(language: str, kind: str) -> tuple[Pair, ...]:
    """Patterns of the English texts of a kind, longest first, each with the text of the language."""
    file = files(__package__).joinpath("sentences_of", f"{language}.json")
    texts: dict[str, str] = json.loads(file.read_text("utf-8"))[kind]
    return tuple((_pattern(text), texts[text]) for text in sorted(texts, key=len, reverse=True))


def _pattern(text: str) -> re.Pattern[str]:
    escaped = re.escape(text).replace(r"\(s\)", "s?")
    return re.compile(_PLACE.sub(lambda place: f"(?P<{place[1]}>{_allowed(place[1])})", escaped), re.DOTALL)


def _allowed(name: str) -> str:
    if name == _ODDS:
        return _ODDS_PATTERN
    return ".+?" if name in _WORDS else _NUMBER
