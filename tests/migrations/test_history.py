"""The migrations: one line of history, up and down on both databases, and rows survive."""

import re
from collections import Counter

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from sqlalchemy.orm import Session

from paaplus.db import migrate
from paaplus.db.engine import make_engine
from paaplus.db.tables import Base
from tests.migrations.rows import VERSION_TABLE, all_rows, insert_one_row_everywhere, reflect
from tests.migrations.scripts import PROJECT_MIGRATIONS
from tests.migrations.snapshots import FOLDER, path_of, schema_at

SCRIPTS = ScriptDirectory(str(PROJECT_MIGRATIONS))
REVISIONS = [script.revision for script in reversed(list(SCRIPTS.walk_revisions()))]  # oldest first


def test_history_is_one_line() -> None:
    assert SCRIPTS.get_heads() == [migrate.head()]
    assert len(SCRIPTS.get_bases()) == 1


def test_files_are_named_by_date() -> None:
    for path in (PROJECT_MIGRATIONS / "versions").glob("*.py"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d{4}_[a-z0-9_]+\.py", path.name), path.name


@pytest.fixture
def engine(empty_database_url: str):
    engine = make_engine(empty_database_url)
    yield engine
    engine.dispose()


def test_rows_survive_every_step_up_to_head(empty_database_url: str, engine: sa.Engine) -> None:
    migrate.upgrade(empty_database_url, REVISIONS[0])
    with engine.begin() as connection:
        insert_one_row_everywhere(connection)
        before = all_rows(connection)
    assert before

    for revision in REVISIONS[1:]:
        migrate.upgrade(empty_database_url, revision)
        assert migrate.current(empty_database_url) == revision

    with engine.connect() as connection:
        after = all_rows(connection)
    assert {name: len(rows) for name, rows in after.items() if name in before} == dict.fromkeys(before, 1)


def test_down_and_up_again_with_a_row_in_every_table(empty_database_url: str, engine: sa.Engine) -> None:
    migrate.upgrade(empty_database_url)
    for _ in range(2):
        with engine.begin() as connection:
            assert set(all_rows(connection)) == set(Base.metadata.tables)
            insert_one_row_everywhere(connection)
            assert all(len(rows) == 1 for rows in all_rows(connection).values())

        migrate.downgrade(empty_database_url, "base")

        assert migrate.current(empty_database_url) is None
        with engine.connect() as connection:
            assert sa.inspect(connection).get_table_names() == [VERSION_TABLE]

        migrate.upgrade(empty_database_url)
        assert migrate.current(empty_database_url) == migrate.head()


def test_schema_of_every_revision_is_what_it_was_when_it_was_written(
    empty_database_url: str, database_kind: str, engine: sa.Engine
) -> None:
    """Deployed databases have these schemas: a released migration must not be edited."""
    for revision in REVISIONS:
        path = path_of(revision, database_kind)
        assert path.exists(), f"no snapshot of {revision}: run `make schema`, and look at what it wrote"
        assert schema_at(empty_database_url, revision) == path.read_text(), path.name
    assert {path.name.partition(".")[0] for path in FOLDER.glob("*.txt")} == set(REVISIONS)


def test_every_step_goes_down_and_up_again_with_a_row_in_every_table(
    empty_database_url: str, engine: sa.Engine
) -> None:
    """Tables that exist before and after keep their row, also when downgrading."""
    for before, revision in zip([None, *REVISIONS], REVISIONS, strict=False):
        migrate.upgrade(empty_database_url, revision)
        with engine.begin() as connection:
            insert_one_row_everywhere(connection)
        migrate.downgrade(empty_database_url, before or "base")
        with engine.connect() as connection:
            assert {len(rows) for rows in all_rows(connection).values()} <= {1}
        migrate.upgrade(empty_database_url, revision)
        with engine.begin() as connection:
            for table in reversed(reflect(connection).sorted_tables):
                connection.execute(table.delete())


def test_rows_of_every_earlier_version_are_read_by_this_one(empty_database_url: str, engine: sa.Engine) -> None:
    """Each version leaves a row in every table that it has; all of them go up to this one together."""
    num_rows: Counter[str] = Counter()
    for number, earlier in enumerate(REVISIONS[:-1]):
        migrate.upgrade(empty_database_url, earlier)
        with engine.begin() as connection:
            insert_one_row_everywhere(connection, whole=7 + number)
            num_rows.update(set(reflect(connection).tables))
    migrate.upgrade(empty_database_url)
    with Session(engine) as session:
        for mapper in Base.registry.mappers:
            rows = session.execute(sa.select(mapper.class_)).scalars().all()
            name = mapper.local_table.name
            assert len(rows) >= num_rows[name], mapper  # a step may add one of its own
            for row in rows:
                for column in mapper.column_attrs:
                    getattr(row, column.key)  # a value that its type cannot read raises


def test_every_foreign_key_has_an_index(database_url: str) -> None:
    """Without one, deleting a parent reads the whole child table: erasing a user would."""
    engine = make_engine(database_url)
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        missing = []
        for table in Base.metadata.tables:
            leading = {index["column_names"][0] for index in inspector.get_indexes(table)}
            leading |= {unique["column_names"][0] for unique in inspector.get_unique_constraints(table)}
            leading |= {inspector.get_pk_constraint(table)["constrained_columns"][0]}
            for key in inspector.get_foreign_keys(table):
                if key["constrained_columns"][0] not in leading:
                    missing.append(f"{table}.{key['constrained_columns'][0]}")
    engine.dispose()
    assert missing == []
