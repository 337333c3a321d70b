"""A database that was used before is as a new one, or is not used again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import UserRow
from paaplus.db.tables.base import Base
from tests.support import clean_databases
from tests.support.clean_databases import CleanDatabases
from tests.support.deployment import Deployment
from tests.support.servers import GivenServer, PostgresServer


@pytest.fixture
def databases(postgres_server: PostgresServer | GivenServer, postgres_template: str) -> Iterator[CleanDatabases]:
    databases = CleanDatabases(postgres_server.url, postgres_template)
    yield databases
    databases.close()


@pytest.mark.parametrize("database_kind", ["sqlite"])  # of the settings, which the deployment needs for its files
def test_next_test_finds_no_row_and_no_connection_of_the_one_before(databases: CleanDatabases, settings) -> None:
    url = databases.get()
    left_open = Database(url)
    deployment = Deployment(left_open, settings, num_images=4)
    deployment.rate(deployment.add_user(), range(4))
    forgotten = left_open.engine.connect()
    forgotten.execute(sa.text("select * from users for update"))
    assert databases.get() == url
    with pytest.raises(sa.exc.OperationalError):
        forgotten.execute(sa.text("select 1"))
    forgotten.invalidate()
    left_open.dispose()
    database = Database(url)
    with database.read_session() as session:
        counts = {name: session.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                  for name, table in Base.metadata.tables.items()}  # fmt: skip
    database.dispose()
    assert UserRow.__tablename__ in counts
    assert {name for name, count in counts.items() if count} == set()


@pytest.mark.parametrize(
    "change",
    [
        "create table leftovers (id integer)",
        "alter table users add column nickname text",
        "alter table users drop column policy",
        "update alembic_version set version_num = 'x'",
    ],
)
def test_database_with_another_schema_is_not_used_again(databases: CleanDatabases, change: str) -> None:
    url = databases.get()
    database = Database(url)
    with database.session() as session:
        session.execute(sa.text(change))
    database.dispose()
    assert databases.get() != url


def test_database_is_not_used_for_ever(databases: CleanDatabases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clean_databases, "MAX_USES", 2)
    urls = [databases.get() for _ in range(4)]
    assert urls[0] == urls[1] != urls[2] == urls[3]
