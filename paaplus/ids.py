"""Identifiers: time-ordered UUIDv7 for rows, SHA-256 for content."""

from __future__ import annotations

import hashlib
from datetime import datetime
from uuid import UUID

import uuid_utils.compat


def new_id() -> UUID:
    """A UUIDv7: unique, and increasing with time, so primary keys stay clustered."""
    return uuid_utils.compat.uuid7()


def first_id_of(moment: datetime) -> UUID:
    """A lower bound of the ids that `new_id` makes from this moment on, to select rows by time."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
