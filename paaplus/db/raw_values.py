"""Columns read as the driver gives them, for statements of thousands of rows.

To turn rows into objects costs most of such a statement. SQLite has ids as texts and times without a time zone;
PostgreSQL has both as objects.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from pydantic_core import from_json, to_json

_EPOCH: Final = {None: datetime(1970, 1, 1), UTC: datetime(1970, 1, 1, tzinfo=UTC)}
_MICROSECOND: Final = timedelta(microseconds=1)
_NUM_KEPT: Final = 32_768  # ids: some 10 MB


def raw(column: Any) -> sa.ColumnElement[Any]:
    """An id, a name or an event's time as the driver gives it; `uuid_of` makes an id of it."""
    return sa.type_coerce(column, sa.String())


def as_text(dialect: str, column: Any) -> sa.ColumnElement[Any]:
    """An id or a document as a text on both databases: of thousands, PostgreSQL's driver would make as many objects."""
    return sa.cast(column, sa.Text()) if dialect == "postgresql" else raw(column)


def uuid_of(value: str | UUID) -> UUID:
    """The id of a value that was read `raw`."""
    return value if isinstance(value, UUID) else _uuid_of_text(value)


def id_texts(ids: Sequence[UUID]) -> list[str]:
    """Ids as texts: for many, a fifth of what `str` takes."""
    return to_json(ids)[2:-2].decode().split('","') if ids else []


def hex_of(value: str | UUID) -> str:
    """An id that was read `raw` as 32 hexadecimal digits: as a key, a text costs a fraction of a UUID."""
    return value if isinstance(value, str) else value.hex


def moment_of(value: str | int | datetime | None) -> datetime | None:
    """A time as the driver gives it, in UTC. A number is of microseconds since 1970."""
    if value is None:
        return None
    if isinstance(value, int):
        return _EPOCH[UTC] + value * _MICROSECOND
    return _moment_of_text(value) if isinstance(value, str) else value.astimezone(UTC)


def document_of(value: Any) -> Any:
    """A JSON value as the driver gives it: SQLite's is a text."""
    return from_json_text(value) if isinstance(value, str) else value


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 of a time with a time zone, or of one in UTC without."""
    return (moment - _EPOCH[UTC if moment.tzinfo is not None else None]) // _MICROSECOND


def from_json_text(text: str | bytes) -> Any:
    """What `json.loads` gives, several times as fast."""
    try:
        return from_json(text)
    except ValueError:  # half a surrogate pair, which JSON allows
        return json.loads(text)


@lru_cache(_NUM_KEPT)
def _uuid_of_text(text: str) -> UUID:
    return UUID(text)


@lru_cache(1024)  # a batch has few
def _moment_of_text(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
