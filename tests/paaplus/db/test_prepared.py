"""Prepared inserts: the rows are those that SQLAlchemy writes, to the byte, on both databases."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.prepared import PreparedInsert
from paaplus.db.tables import RunRow, UserRow
from paaplus.db.tables.jobs import RunOutcome
from paaplus.db.types import utcnow
from paaplus.ids import new_id
from tests.support.deployment import Deployment

RUNS = cast(sa.Table, RunRow.__table__)


def run(user_id: UUID, base_model_id: UUID, **values: Any) -> dict[str, Any]:
    return {
        "id": new_id(), "job_id": None, "user_id": user_id, "base_model_id": base_model_id, "strategy": "bayes",
        "config": {"a": [1, 0.1, None, True], "ü": "“"}, "seed": 7, "from_sequence": 1, "to_sequence": 2, "num_new": 2,
        "num_held_out": 0, "device": "cpu", "outcome": RunOutcome.PROMOTED, "metrics": {"x": 1e-300, "y": 0.1 + 0.2},
        "timings": {}, "started_at": utcnow(), "finished_at": utcnow(), **values,
    }  # fmt: skip


@pytest.fixture
def ids(database: Database, settings) -> tuple[UUID, UUID]:
    user = Deployment(database, settings).add_user()
    with database.read_session() as session:
        return user, session.execute(sa.text("SELECT id FROM base_models")).scalar_one()


def stored(database: Database, run_id: UUID) -> tuple[Any, ...]:
    columns = ", ".join(f"CAST({name} AS TEXT)" for name in RUNS.c.keys() if name != "id")  # noqa: SIM118  # no dict
    with database.read_session() as session:
        where = sa.select(sa.text(columns)).select_from(RUNS).where(RUNS.c.id == run_id)
        return tuple(session.execute(where).one())


def test_rows_are_as_sqlalchemy_writes_them(database: Database, ids: tuple[UUID, Any]) -> None:
    base = ids[1] if isinstance(ids[1], UUID) else UUID(ids[1])
    first = run(ids[0], base)
    second = {**first, "id": new_id()}
    third = {**first, "id": new_id()}
    insert = PreparedInsert(RunRow.__table__)
    with database.session() as session:
        session.connection().execute(sa.insert(RUNS), [first])
        insert.insert(session.connection(), [second, third])
    assert stored(database, first["id"]) == stored(database, second["id"]) == stored(database, third["id"])


def test_rows_of_other_columns_are_another_statement(database: Database, ids: tuple[UUID, Any]) -> None:
    base = ids[1] if isinstance(ids[1], UUID) else UUID(ids[1])
    insert = PreparedInsert(RunRow.__table__)
    whole, short = run(ids[0], base), run(ids[0], base)
    del short["job_id"]
    with database.session() as session:
        for row in (whole, short, whole | {"id": new_id()}):
            insert.insert(session.connection(), [row])
    with database.read_session() as session:
        assert session.execute(sa.select(sa.func.count()).select_from(RUNS)).scalar_one() == 3


def test_a_default_that_nobody_would_fill_in_is_refused(database: Database) -> None:
    with database.session() as session, pytest.raises(AssertionError, match="default"):
        PreparedInsert(UserRow.__table__).insert(session.connection(), [{"id": new_id(), "created_at": utcnow()}])


def test_an_error_tells_no_values(database: Database, ids: tuple[UUID, Any]) -> None:
    base = ids[1] if isinstance(ids[1], UUID) else UUID(ids[1])
    row = run(ids[0], base, strategy="a secret")
    with database.session() as session, pytest.raises(sa.exc.IntegrityError) as caught:
        PreparedInsert(RunRow.__table__).insert(session.connection(), [row, row])
    assert "a secret" not in str(caught.value)
