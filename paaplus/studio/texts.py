"""The studio's texts in English and Chinese, from `languages/en.json` and `languages/zh.json`."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final

LANGUAGES: Final = {"en": "English", "zh": "中文"}
DEFAULT: Final = "en"


@cache
def of(language: str) -> dict[str, str]:
    """All texts of one language, by key."""
    read: dict[str, str] = json.loads(files(__package__).joinpath("languages", f"{language}.json").read_text("utf-8"))
    return read


class Texts:
    """Texts of one language, as templates call them: `t("rate.title")`, `t("photos.count", number=3)`."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._known = of(language)

    def __call__(self, key: str, **values: Any) -> str:
        return self._known[key].format(**values)

    def find(self, key: str, otherwise: str) -> str:
        """A text that may be missing: a word of the platform that the studio has no text for is shown as it is."""
        return self._known.get(key, otherwise)

    def begins(self, *prefixes: str) -> dict[str, str]:
        """The texts whose keys begin so: for the scripts of a page."""
        return {key: text for key, text in self._known.items() if key.startswith(prefixes)}


def choose(chosen: str | None, accepted: str) -> str:
    """The language of a visitor.

    Args:
        chosen: what the visitor has chosen before.
        accepted: the header `Accept-Language`; the first known language counts.
    """
    if chosen in LANGUAGES:
        return str(chosen)
    for part in accepted.split(","):
        language = part.split(";")[0].strip().split("-")[0].lower()
        if language in LANGUAGES:
            return language
    return DEFAULT
