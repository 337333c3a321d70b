"""Moments in texts: ISO 8601 with a date, a time and an offset, such as `2026-11-22T09:30:00Z`."""

from __future__ import annotations

import re
from datetime import datetime

from paaplus.errors import InvalidInput

_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,9})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
)
FIRST_YEAR, LAST_YEAR = 1900, 2200


def parse_moment(text: str) -> datetime:
    """The moment that a text names.

    Raises:
        InvalidInput: not ISO 8601 with an offset, a day that does not exist, or a year before 1900 or after 2200.
    """
    if not _MOMENT.fullmatch(text):
        raise InvalidInput(
            f"{text!r:.60} is not an ISO 8601 time with date, time and offset, such as 2026-11-22T09:30:00Z"
        )
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r:.60} is no moment: {error}") from error
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise InvalidInput(f"{text!r:.60} is not between the years {FIRST_YEAR} and {LAST_YEAR}")
    return moment
