"""Checks of names that callers choose, so that they fit into URLs, logs and both databases."""

from __future__ import annotations

import re

from paaplus.errors import InvalidInput

APPLICATION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
EXTERNAL_ID_MAX = 128


def check_application(name: str) -> None:
    """Check the name of an application.

    Raises:
        InvalidInput: not 1-64 letters, digits, dots, dashes or underscores.
    """
    if not re.fullmatch(APPLICATION_PATTERN, name):
        raise InvalidInput(f"application {name!r}: 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit")


def is_external_id(text: str) -> bool:
    """Whether a text is a valid external id: 1-128 printable characters, no slash, and neither '.' nor '..'."""
    return 0 < len(text) <= EXTERNAL_ID_MAX and text.isprintable() and "/" not in text and text not in (".", "..")
