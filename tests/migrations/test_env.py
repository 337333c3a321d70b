"""`migrations/env.py`, tested with migrations made for the tests."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from paaplus.db import migrate
from paaplus.db.engine import make_engine
from paaplus.errors import Conflict
from tests.migrations.rows import all_rows, insert_one_row_everywhere
from tests.migrations.scripts import Migrations


@pytest.fixture
def engine(database_url: str):
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


def parents_with_cascading_children(connection: sa.Connection) -> list[str]:
    inspector = sa.inspect(connection)
    keys = [key for table in inspector.get_table_names() for key in inspector.get_foreign_keys(table)]
    return sorted({key["referred_table"] for key in keys if key.get("options", {}).get("ondelete") == "CASCADE"})


def test_rebuilding_parent_tables_keeps_the_rows_of_their_children(
    database_url: str, database_kind: str, engine: sa.Engine, tmp_path: Path
) -> None:
    """On SQLite a rebuilt table is dropped; with foreign keys on, ON DELETE CASCADE would empty its children."""
    with engine.begin() as connection:
        insert_one_row_everywhere(connection)
        before = all_rows(connection)
        parents = parents_with_cascading_children(connection)
    assert {"users", "images"} <= set(parents)
    recreate = "always" if database_kind == "sqlite" else "auto"  # PostgreSQL never needs to
    migrations = Migrations(tmp_path / "migrations", with_versions=True)
    migrations.add(
        "rebuilds",
        after=migrate.head(),
        upgrade=f"for table in {parents}:\n"
        f"    with op.batch_alter_table(table, recreate={recreate!r}) as batch:\n"
        "        batch.add_column(sa.Column('added', sa.Integer()))",
        downgrade=f"for table in {parents}:\n"
        f"    with op.batch_alter_table(table, recreate={recreate!r}) as batch:\n"
        "        batch.drop_column('added')",
    )

    command.upgrade(migrations.config(database_url), "head")

    with engine.connect() as connection:
        after = all_rows(connection)
    for table in parents:
        assert [row.pop("added") for row in after[table]] == [None]
    assert after == before

    command.downgrade(migrations.config(database_url), "-1")

    with engine.connect() as connection:
        assert all_rows(connection) == before
    migrate.check(database_url)


def test_the_application_deletes_children_with_their_parent(database_url: str, engine: sa.Engine) -> None:
    """Outside migrations the cascade must work, because erasing a user needs it."""
    with engine.begin() as connection:
        insert_one_row_everywhere(connection)
        connection.execute(sa.text("delete from users"))
        left = {name for name, rows in all_rows(connection).items() if rows}
    assert left.isdisjoint({"feedback", "adapters", "images", "prediction_receipts"})


def test_a_failing_step_leaves_nothing_behind(empty_database_url: str, tmp_path: Path, database_kind: str) -> None:
    migrations = Migrations(tmp_path / "migrations", with_versions=False)
    migrations.add("first", None, "op.create_table('a', sa.Column('id', sa.Integer(), primary_key=True))")
    migrations.add(
        "second",
        "first",
        "op.create_table('b', sa.Column('id', sa.Integer(), primary_key=True))\nop.execute('select * from missing')",
    )

    with pytest.raises(sa.exc.DatabaseError, match="missing"):
        command.upgrade(migrations.config(empty_database_url), "head")

    engine = make_engine(empty_database_url)
    tables = set(sa.inspect(engine).get_table_names()) - {"alembic_version"}
    engine.dispose()
    # PostgreSQL keeps finished migrations; SQLite applies all or none.
    assert tables == ({"a"} if database_kind == "postgresql" else set())
    assert migrate.current(empty_database_url) == ("first" if database_kind == "postgresql" else None)


def test_a_step_that_leaves_dangling_references_is_refused(tmp_path: Path) -> None:
    """PostgreSQL checks by itself; on SQLite the environment does, because migrations run with foreign keys off."""
    url = f"sqlite:///{tmp_path / 'test.db'}"
    migrations = Migrations(tmp_path / "migrations", with_versions=False)
    migrations.add(
        "first",
        None,
        "op.create_table('parent', sa.Column('id', sa.Integer(), primary_key=True))\n"
        "op.create_table('child', sa.Column('parent_id', sa.Integer(), sa.ForeignKey('parent.id')))\n"
        "op.execute('insert into parent values (1)')\n"
        "op.execute('insert into child values (1)')",
    )
    migrations.add("second", "first", "op.execute('delete from parent')")
    command.upgrade(migrations.config(url), "first")

    with pytest.raises(Conflict, match=r"migration second leaves 1 dangling references: child -> parent"):
        command.upgrade(migrations.config(url), "head")

    assert migrate.current(url) == "first"
    engine = make_engine(url)
    with engine.connect() as connection:
        assert connection.execute(sa.text("select count(*) from parent")).scalar_one() == 1
    engine.dispose()


def test_a_rebuilt_table_leaves_no_copy_in_the_file(tmp_path: Path) -> None:
    """Erasure reaches free pages too: what a migration copied and dropped must be overwritten."""
    path = tmp_path / "test.db"
    url = f"sqlite:///{path}"
    migrations = Migrations(tmp_path / "migrations", with_versions=False)
    migrations.add(
        "first",
        None,
        "op.create_table('notes', sa.Column('text', sa.Text()))\n"
        "for _ in range(200):\n"
        "    op.execute(\"insert into notes values ('canary-\" + 'x' * 500 + \"')\")",
    )
    migrations.add(
        "second",
        "first",
        "with op.batch_alter_table('notes', recreate='always') as batch:\n"
        "    batch.add_column(sa.Column('added', sa.Integer()))\n"
        "op.execute('delete from notes')",
    )
    command.upgrade(migrations.config(url), "first")
    assert b"canary-" in path.read_bytes()

    command.upgrade(migrations.config(url), "second")

    assert b"canary-" not in path.read_bytes()
