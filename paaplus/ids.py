"""Identifiers: time-ordered UUIDv7 for rows, SHA-256 for content."""

from __future__ import annotations

import hashlib
from datetime import datetime
from uuid import UUID

import uuid_utils
import uuid_utils.compat


def new_id() -> UUID:
    """A UUIDv7: unique, and increasing with time, so primary keys stay clustered."""
    return uuid_utils.compat.uuid7()


def new_hex() -> str:
    """A new id as 32 hexadecimal digits, for rows that the driver writes: it costs a fraction of `new_id`."""
    return uuid_utils.uuid7().hex


def new_hex_after(last: str | None) -> str:
    """As `new_hex`, after another id, even if a clock was set back or another host's clock is behind; None: any."""
    new = new_hex()
    return new if last is None or new > last else f"{int(last, 16) + 1:032x}"


def first_id_of(moment: datetime) -> UUID:
    """A lower bound of the ids that `new_id` makes from this moment on, to select rows by time."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def id_of(time_ms: int, content: bytes) -> UUID:
    """A UUIDv7 of a moment and of a content: always the same one.

    Args:
        time_ms: milliseconds since 1970.
        content: ten bytes of a digest.
    """
    number = (time_ms << 80) | int.from_bytes(content[:10])
    number = (number & ~(0xF << 76)) | (7 << 76)
    return UUID(int=(number & ~(0x3 << 62)) | (0x2 << 62))
