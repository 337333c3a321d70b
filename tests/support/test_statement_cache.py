"""Engines share what was compiled, and no engine gets the other database's statements."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import UserRow
from tests.support.factories import make_user


def test_second_engine_compiles_nothing_again(
    database_url: str, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use(database: Database) -> list[str]:
        with database.session() as session:
            make_user(session, external_id="ada")
        with database.read_session() as session:
            found = list(session.execute(sa.select(UserRow.external_id).where(UserRow.external_id == "ada")).scalars())
        with database.session() as session:
            session.execute(sa.delete(UserRow))
        database.dispose()
        return found

    assert use(Database(database_url)) == ["ada"]
    compiled = []
    compile_statement = sa.sql.elements.ClauseElement._compiler

    def record(self, dialect, **options):
        compiled.append(type(self))
        return compile_statement(self, dialect, **options)

    monkeypatch.setattr(sa.sql.elements.ClauseElement, "_compiler", record)
    assert use(Database(database_url)) == ["ada"]
    assert compiled == []
    other = sa.create_engine("sqlite://" if database_url.startswith("postgresql") else f"sqlite:///{sqlite_template}")
    with other.connect() as connection:
        assert connection.execute(sa.select(sa.literal(1))).scalar_one() == 1
    other.dispose()
