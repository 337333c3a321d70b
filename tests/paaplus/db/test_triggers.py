"""The log of who is served by something else cannot be forgotten: its triggers are part of the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from paaplus.db import migrate, triggers
from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, ServingChangeRow, UserRow
from paaplus.db.tables.models import AdapterState
from paaplus.errors import Conflict
from tests.migrations.scripts import Migrations
from tests.support.factories import make_adapter, make_base_model, make_user

NAMES = sorted(triggers.statements("sqlite"))


def definitions(connection: sa.Connection) -> list[Any]:
    """Of all triggers, as the database tells them."""
    if connection.dialect.name == "sqlite":
        query = "select name, sql from sqlite_master where type = 'trigger' order by name"
    else:
        query = (
            "select tgname, pg_get_triggerdef(t.oid), pg_get_functiondef(tgfoid) from pg_trigger t "
            "where not tgisinternal order by tgname"
        )
    return list(connection.exec_driver_sql(query))


def test_migrations_make_the_triggers_that_the_code_would_make(database: Database) -> None:
    with database.engine.begin() as connection:
        before = definitions(connection)
        assert [row[0] for row in before] == NAMES
        assert triggers.missing(connection) == []
        for name in NAMES:
            drop(connection, name)
        assert set(triggers.missing(connection)) == set(NAMES)
        triggers.make_missing(connection)
        assert definitions(connection) == before


def drop(connection: sa.Connection, name: str) -> None:
    table = "" if connection.dialect.name == "sqlite" else f" ON {name.split('_')[1]}"
    connection.exec_driver_sql(f"DROP TRIGGER {name}{table}")


@pytest.mark.parametrize("name", NAMES)
def test_database_without_a_trigger_is_not_at_the_codes_schema(
    database: Database, database_url: str, name: str
) -> None:
    with database.engine.begin() as connection:
        drop(connection, name)
    with pytest.raises(Conflict, match=f"trigger {name}: missing"):
        migrate.check(database_url)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_trigger_that_is_off_or_calls_something_else_is_named(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE users DISABLE TRIGGER serving_users_deleted")
        assert triggers.missing(connection) == ["serving_users_deleted"]
        source = "CREATE OR REPLACE FUNCTION note_serving_change() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$"  # noqa: E501
        connection.exec_driver_sql(source)
        assert triggers.missing(connection) == ["note_serving_change", "serving_users_deleted"]
        triggers.make_missing(connection)
        assert triggers.missing(connection) == []


def test_tables_that_a_migration_rebuilds_keep_their_triggers(
    database: Database, database_url: str, database_kind: str, tmp_path: Path
) -> None:
    """On SQLite a rebuilt table is another one, and its triggers are gone."""
    migrations = Migrations(tmp_path / "migrations", with_versions=True)
    recreate = "always" if database_kind == "sqlite" else "auto"
    migrations.add(
        "rebuilds",
        after=migrate.head(),
        upgrade="for table in ('users', 'adapters'):\n"
        f"    with op.batch_alter_table(table, recreate={recreate!r}) as batch:\n"
        "        batch.add_column(sa.Column('added', sa.Integer()))",
    )
    command.upgrade(migrations.config(database_url), "head")
    with database.engine.connect() as connection:
        assert [row[0] for row in definitions(connection)] == NAMES
        assert triggers.missing(connection) == []


def test_every_way_to_serve_something_else_is_logged_and_nothing_else_is(database: Database) -> None:
    with database.session() as session:
        base = make_base_model(session).id
        user, other = make_user(session, external_id="a"), make_user(session, external_id="b")
        ids = {user.id: "a", other.id: "b"}
        first = make_adapter(session, user, base_model_id=base, state=AdapterState.CANDIDATE).id
    seen = 0

    def logged(*statements: sa.Executable) -> list[str]:
        nonlocal seen
        with database.session() as session:
            for statement in statements:
                session.execute(statement)
        with database.read_session() as session:
            rows = session.execute(sa.select(ServingChangeRow).order_by(ServingChangeRow.number)).scalars().all()
        new, seen = rows[seen:], len(rows)
        return [ids[row.user_id] for row in new]

    def version(**values: object) -> sa.Update:
        return sa.update(AdapterRow).where(AdapterRow.id == first).values(**values)

    def of_user(**values: object) -> sa.Update:
        return sa.update(UserRow).where(UserRow.id == user.id).values(**values)

    assert logged(version(state=AdapterState.REJECTED), version(metrics={"a": 1})) == []
    assert logged(of_user(feedback_sequence=5, last_trained_at=None)) == []
    assert logged(version(state=AdapterState.ACTIVE)) == ["a"]
    assert logged(version(metrics={"a": 2})) == []
    assert logged(version(user_id=other.id)) == ["a", "b"]
    assert logged(version(user_id=user.id)) == ["b", "a"]
    assert logged(version(state=AdapterState.RETIRED)) == ["a"]
    assert logged(version(state=AdapterState.ACTIVE), version(state=AdapterState.RETIRED)) == ["a", "a"]
    assert logged(of_user(external_id="c")) == ["a"]
    assert logged(of_user(application="another")) == ["a"]
    assert logged(sa.delete(AdapterRow).where(AdapterRow.id == first)) == []
    with database.session() as session:
        again = session.get(UserRow, user.id)
        assert again is not None
        make_adapter(session, again, base_model_id=base)
    assert logged() == ["a"]
    assert set(logged(sa.delete(UserRow).where(UserRow.id == user.id))) == {"a"}


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_numbers_grow_by_one_from_the_time_of_the_first(database: Database) -> None:
    with database.session() as session:
        users = [make_user(session) for _ in range(3)]
    for user in users:
        with database.session() as session:
            session.execute(sa.delete(UserRow).where(UserRow.id == user.id))
    with database.read_session() as session:
        numbers = session.execute(sa.select(ServingChangeRow.number).order_by(ServingChangeRow.number)).scalars().all()
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    assert 1_700_000_000_000_000 < numbers[0] < 5_000_000_000_000_000
