"""Cursors of lists of events: numbers in the form of the ids that other lists go by."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from paaplus.errors import InvalidInput

_MAX: Final = 2**63 - 1  # of a database's whole numbers


def cursor_of(number: int) -> UUID:
    """The cursor of the page after an event, by its place in the list."""
    return UUID(int=number)


def number_of(cursor: UUID) -> int:
    """The place of the event that a cursor names.

    Raises:
        InvalidInput: it names none, such as a cursor from when events had ids of this form.
    """
    if cursor.int > _MAX:
        raise InvalidInput(f"cursor {cursor} is no event of this list: begin with the first page")
    return cursor.int
