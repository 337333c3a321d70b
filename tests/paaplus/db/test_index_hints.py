"""SQLite reads the index that a statement names."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.index_hints import index_hint
from paaplus.db.tables import AdapterRow


def test_a_hint_stands_in_sqlites_statement_only(database: Database) -> None:
    query = sa.select(AdapterRow.id).where(AdapterRow.user_id.is_(None), sa.text("adapters.state = 'active'"))
    text = str(query.with_hint(AdapterRow, index_hint("ix_adapters_active"), "sqlite").compile(database.engine))
    assert ("INDEXED BY ix_adapters_active" in text) == (database.engine.dialect.name == "sqlite")


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_an_index_that_is_not_there_is_told(database: Database) -> None:
    query = sa.select(AdapterRow.id).with_hint(AdapterRow, index_hint("ix_of_nothing"), "sqlite")
    with database.read_session() as session, pytest.raises(sa.exc.OperationalError, match="no such index"):
        session.execute(query)
