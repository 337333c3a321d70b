"""`paaplus.db.schema_diff`: differences that Alembic does not compare."""

import pytest
import sqlalchemy as sa

from paaplus.db import migrate
from paaplus.db.engine import Database
from paaplus.db.schema_diff import uncompared_differences
from paaplus.db.tables import Base
from tests.migrations.rows import insert_one_row_everywhere

ENUMS = [
    (table.name, column.name, column.type)
    for table in Base.metadata.sorted_tables
    for column in table.columns
    if isinstance(column.type, sa.Enum)
]


def test_a_migrated_database_has_none(database: Database) -> None:
    with database.engine.connect() as connection:
        assert uncompared_differences(connection, Base.metadata) == []


def changed(name: str, column: sa.Column[object], *indexes: sa.Index) -> sa.MetaData:
    metadata = sa.MetaData(naming_convention=Base.metadata.naming_convention)
    sa.Table(name, metadata, sa.Column("id", sa.Integer(), primary_key=True), column, *indexes)
    return metadata


def state(*values: str) -> sa.Column[object]:
    return sa.Column("state", sa.Enum(*values, name="state", native_enum=False, create_constraint=True, length=24))


def index_where(where: str) -> sa.Index:
    return sa.Index("uq_things_one", "state", unique=True, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (
            changed("things", state("a", "b", "c"), index_where("state = 'a'")),
            "ck_things_state: expected a, b, c, found a, b",
        ),
        (
            changed("things", state("a", "b"), index_where("state = 'b'")),
            "uq_things_one: expected state='b', found state='a'",
        ),
        (changed("things", state("a", "b"), index_where("state IS NULL")), "expected stateisnull, found state='a'"),
        (changed("things", state("a", "b")), "uq_things_one: expected none, found state='a'"),
        (changed("things", sa.Column("state", sa.String(24)), index_where("state = 'a'")), "expected none, found a, b"),
    ],
)
def test_a_changed_enum_or_predicate_is_named(database: Database, expected: sa.MetaData, message: str) -> None:
    made = changed("things", state("a", "b"), index_where("state = 'a'"))
    with database.engine.begin() as connection:
        made.create_all(connection)
        assert uncompared_differences(connection, made) == []
        [difference] = uncompared_differences(connection, expected)
    assert message in difference


def test_check_reports_them(database: Database, database_url: str) -> None:
    with database.engine.begin() as connection:
        connection.execute(sa.text("drop index uq_adapters_one_active_per_user"))
        connection.execute(
            sa.text("create unique index uq_adapters_one_active_per_user on adapters (user_id) where state = 'retired'")
        )
    with pytest.raises(migrate.Conflict, match="expected state='active', found state='retired'"):
        migrate.check(database_url)


@pytest.mark.parametrize(("table", "column", "enum"), ENUMS, ids=[f"{table}.{column}" for table, column, _ in ENUMS])
def test_the_database_takes_every_value_of_an_enum_and_no_other(
    database: Database, table: str, column: str, enum: sa.Enum
) -> None:
    change = sa.text(f"update {table} set {column} = :value")
    with database.engine.begin() as connection:
        insert_one_row_everywhere(connection)
        for value in enum.enums:
            assert connection.execute(change, {"value": value}).rowcount == 1
        with pytest.raises(sa.exc.IntegrityError), connection.begin_nested():
            connection.execute(change, {"value": "no such value"})
