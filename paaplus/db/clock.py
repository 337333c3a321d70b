"""The clock for leases and due times."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.types import utcnow


def db_now(session: Session) -> datetime:
    """The current time: PostgreSQL's clock, because several hosts share it; on SQLite this host's."""
    if session.get_bind().dialect.name != "postgresql":
        return utcnow()
    now: datetime = session.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    return now
