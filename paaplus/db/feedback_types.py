"""Column types of the feedback log, which keep a row short. Elsewhere its values are as other tables' are.

A deployment has more events than anything else.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

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
