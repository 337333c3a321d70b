"""Locks by name, for what no row can be locked for: two transactions about the same name take turns."""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from sqlalchemy.orm import Session


def lock_name(session: Session, name: str) -> None:
    """Hold `name` until the end of the (writing) transaction. On SQLite that means: hold everything."""
    connection = session.connection()  # begins the transaction, and takes SQLite's only write lock with it
    if connection.dialect.name == "postgresql":
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
