"""Cursors of lists of events: numbers in the form of the ids that other lists go by."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from paaplus.errors import InvalidInput

MAX_ID: Final = 2**63 - 1  # as columns hold it
MAX_SEQUENCE: Final = 2**31 - 1


def cursor_of(number: int) -> UUID:
    """The cursor of the page after an event, by its place in the list."""
    return UUID(int=number)


def number_of(cursor: UUID, largest: int) -> int:
    """The place of the event that a cursor names.

    Args:
        largest: number that a place in the list can have.

    Raises:
        InvalidInput: it names none, such as a cursor from when events had ids of this form.
    """
    if cursor.int > largest:
        raise InvalidInput(f"cursor {cursor} is no event of this list: begin with the first page")
    return cursor.int
