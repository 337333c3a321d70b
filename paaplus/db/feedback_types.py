"""Column types of the feedback log, which keep a row short. Elsewhere its values are as other tables' are.

A deployment has more events than anything else.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from datetime import datetime
from functools import lru_cache
from re import compile as pattern_of
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator, TypeEngine

from paaplus.db.raw_values import microseconds, moment_of
from paaplus.db.row_sets import driver_value
from paaplus.db.types import in_utc

# SQLite numbers its rows itself if the key is an INTEGER; that is no column then, and no index.
EventNumber = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


class CompactTime(TypeDecorator[datetime]):
    """A time in UTC, as `UTCDateTime` is; on SQLite 8 bytes, microseconds since 1970, instead of 26."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(sa.BigInteger() if dialect.name == "sqlite" else sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        if value is None:
            return None
        return microseconds(in_utc(value)) if dialect.name == "sqlite" else in_utc(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        return moment_of(value)


def driver_time(dialect: str, moment: datetime) -> Any:
    """A time in UTC as the driver takes it for a `CompactTime`."""
    return microseconds(moment) if dialect == "sqlite" else driver_value(dialect, moment)


class PayloadType(TypeDecorator[dict[str, Any]]):
    """An event's payload, see `packed`. On PostgreSQL JSON, which is a text: JSONB takes twice as much of so little."""

    impl = sa.JSON()
    cache_ok = True

    def process_bind_param(self, value: dict[str, Any] | None, dialect: sa.Dialect) -> Any:
        return packed(value) if value is not None else None

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> dict[str, Any] | None:
        return unpacked(value) if value is not None else None


def packed(payload: dict[str, Any]) -> Any:
    """A payload as it is stored: ratings on a scale as `[ratings, min, max]`, all others as they are."""
    scale = payload.get("scale")
    if len(payload) == 2 and "ratings" in payload and isinstance(scale, dict) and scale.keys() == {"min", "max"}:
        return [payload["ratings"], scale["min"], scale["max"]]
    return payload


def unpacked(stored: Any) -> dict[str, Any]:
    """The payload of what is stored. Rows that are not packed are read as well."""
    if isinstance(stored, list):
        ratings, minimum, maximum = stored
        return {"ratings": ratings, "scale": {"min": minimum, "max": maximum}}
    payload: dict[str, Any] = stored
    return payload


KEY_PREFIX: Final = "key:"  # of the source of an event that came with a key, before the key's id
_MARK: Final = "~"
_UUID: Final = pattern_of("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHORT: Final = pattern_of(f"{_MARK}[A-Za-z0-9_-]{{21}}[AQgw]")  # 128 bits: the last character has two
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = str.maketrans("-_", "+/")
_UUID_LENGTH: Final = 36
_SHORT_LENGTH: Final = 23


class EventIdType(TypeDecorator[str]):
    """The id that a client gave to an event; a UUID is stored in 23 characters, see `exchanged`."""

    impl = sa.String(128)
    cache_ok = True
    prefix = ""

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return exchanged(value, self.prefix) if value is not None else None

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return exchanged(value, self.prefix) if value is not None else None


class SourceType(EventIdType):
    """Who gave an event; mostly `key:` and a UUID, which are stored in 23 characters, see `exchanged`."""

    impl = sa.String(64)
    cache_ok = True
    prefix = KEY_PREFIX


def exchanged(text: str, prefix: str = "") -> str:
    """The stored text of a given one, and the given text of a stored one: the function is its own inverse.

    A UUID after the prefix, as `str` writes it, changes places with a mark and its 16 bytes in base64. All other texts
    stay as they are. So two texts are never stored as the same one, and none becomes longer than both of these.
    """
    length = len(text)
    if length == _SHORT_LENGTH:
        if text[0] == _MARK and _SHORT.fullmatch(text):
            digits = a2b_base64(text[1:].translate(_FROM_URL) + "==").hex()
            return f"{prefix}{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    elif length == _UUID_LENGTH + len(prefix) and text.startswith(prefix) and _UUID.fullmatch(text, len(prefix)):
        data = bytes.fromhex(text[len(prefix) :].replace("-", ""))
        return _MARK + b2a_base64(data, newline=False).translate(_TO_URL)[:-2].decode()
    return text


@lru_cache(1024)  # a process has few callers
def stored_source(source: str) -> str:
    """A source as it is stored."""
    return exchanged(source, KEY_PREFIX)
