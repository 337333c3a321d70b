"""Statements of a bulk transaction are planned anew, and the connection is as before afterwards."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.engine import Database
from paaplus.db.plans import planned_anew

MANY = 10  # more often than the driver waits until it prepares a statement


def num_prepared(session: Session, statement: str) -> int:
    for _ in range(MANY):
        session.execute(sa.text(statement))
    kept = sa.text("SELECT count(*) FROM pg_prepared_statements WHERE statement = :statement")
    return int(session.execute(kept, {"statement": statement}).scalar_one())


def test_server_keeps_no_plan_of_a_statement(database: Database) -> None:
    with database.session() as session:
        if session.get_bind().dialect.name == "sqlite":
            with planned_anew(session):
                assert session.execute(sa.text("SELECT 1")).scalar_one() == 1
            return
        with planned_anew(session):
            assert num_prepared(session, "SELECT 1") == 0
        assert num_prepared(session, "SELECT 2") == 1, "afterwards plans are kept again"
        with planned_anew(session):
            assert session.execute(sa.text("SELECT 2")).scalar_one() == 2, "one that was kept is not used, and runs"
