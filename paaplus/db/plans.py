"""When PostgreSQL plans a statement: at each execution, or once for as long as the connection lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm import Session


@contextmanager
def planned_anew(session: Session) -> Iterator[None]:
    """Let PostgreSQL plan each of the session's statements for the tables as they are. SQLite keeps no plans.

    The driver prepares a statement that it has met some times, and the server keeps its plan. A table that was empty
    then may have a million rows when the plan is used, and be read whole each time. The server's own checks of foreign
    keys keep their plans: to make these anew, row by row, costs more than all else (`plan_cache_mode` would do that).
    """
    if session.get_bind().dialect.name != "postgresql":
        yield
        return
    driver: Any = session.connection().connection.driver_connection
    threshold, driver.prepare_threshold = driver.prepare_threshold, None
    try:
        yield
    finally:
        driver.prepare_threshold = threshold
