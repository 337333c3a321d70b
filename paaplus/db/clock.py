"""The clock that leases and due times are measured with."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.types import utcnow


def db_now(session: Session) -> datetime:
    """The database's own clock where several hosts share it (PostgreSQL), this host's on SQLite."""
    if session.get_bind().dialect.name != "postgresql":
        return utcnow()
    now: datetime = session.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    return now
