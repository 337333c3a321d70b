"""The step from due times in users' rows to a table of their own, and back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db import migrate
from paaplus.db.engine import make_engine
from paaplus.db.tables import UserRow
from paaplus.ids import new_id
from tests.migrations.rows import all_rows, insert_one_row_everywhere, reflect

BEFORE, AFTER = "5c3ae90f7b12", "81d4b6f0c3a9"
HOURS_AND_REASONS = [(None, None), (1, "interval"), (-1, "new_feedback"), (None, "new_base_model"), (2, None)]


def test_due_times_and_reasons_go_up_and_down(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url, BEFORE)
    engine = make_engine(empty_database_url)
    with engine.begin() as connection:
        insert_one_row_everywhere(connection)
        users = reflect(connection).tables["users"]
        first = dict(connection.execute(sa.select(users)).mappings().one())
        for hours, reason in HOURS_AND_REASONS:
            user_id = new_id().hex if connection.dialect.name == "sqlite" else new_id()
            at = first["created_at"] + timedelta(hours=hours) if hours is not None else None
            changed = {"id": user_id, "external_id": str(user_id), "next_due_at": at, "due_reason": reason}
            connection.execute(users.insert(), {**first, **changed})
        before = _due(connection)
    assert len(before) == 1 + len(HOURS_AND_REASONS)
    meant = {user: (at, reason or ("new_feedback" if at else None)) for user, (at, reason) in before.items()}

    migrate.upgrade(empty_database_url, AFTER)
    with engine.connect() as connection:
        found = {row["user_id"]: (row["due_at"], row["reason"]) for row in all_rows(connection)["due_times"]}
    assert found == {user: due for user, due in meant.items() if due[1] is not None}
    assert len(found) == len(before) - 1

    migrate.downgrade(empty_database_url, BEFORE)
    with engine.connect() as connection:
        assert _due(connection) == meant
    migrate.upgrade(empty_database_url)
    with Session(engine) as session:
        rows = session.execute(sa.select(UserRow)).scalars().all()
        assert sorted((row.due_reason or "", row.next_due_at is None) for row in rows) == sorted(
            (reason or "", at is None) for at, reason in meant.values()
        )
    engine.dispose()


def _due(connection: sa.Connection) -> dict[Any, tuple[datetime | None, str | None]]:
    return {row["id"]: (row["next_due_at"], row["due_reason"]) for row in all_rows(connection)["users"]}
