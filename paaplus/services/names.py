"""Checks of names that callers choose, so that they fit into URLs, logs and both databases."""

from __future__ import annotations

import re

from paaplus.errors import InvalidInput
from paaplus.texts import checked_id

APPLICATION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
EXTERNAL_ID_MAX = 128
HOME_APPLICATION = "photos"  # of the people whose photographs are on this machine
HOME_USER = "me"  # the person at it, if nobody is named


def check_application(name: str) -> None:
    """Check the name of an application.

    Raises:
        InvalidInput: not 1-64 letters, digits, dots, dashes or underscores.
    """
    if not is_application(name):
        raise InvalidInput(f"application {name!r}: 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit")


def is_application(name: str) -> bool:
    """Whether `check_application` accepts the name."""
    return re.fullmatch(APPLICATION_PATTERN, name) is not None


def check_external_id(text: str) -> None:
    """Check the name by which an application calls a user.

    Raises:
        InvalidInput: it is no id (`texts.checked_id`) of up to 128 characters, has a slash, or is '.' or '..'.
    """
    checked_id(text, EXTERNAL_ID_MAX, "external_id")
    if "/" in text or text in (".", ".."):
        raise InvalidInput(f"external_id {text!r}: it stands in URLs, so it has no '/', and is neither '.' nor '..'")


def is_external_id(text: str) -> bool:
    """Whether `check_external_id` accepts the text."""
    try:
        check_external_id(text)
    except InvalidInput:
        return False
    return True
