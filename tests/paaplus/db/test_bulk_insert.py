"""Rows that the driver inserts are what SQLAlchemy would store, on both databases."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from paaplus.db.bulk_insert import FEW, insert_rows
from paaplus.db.engine import Database
from paaplus.db.row_sets import driver_value
from paaplus.db.types import JSONType, UTCDateTime, in_utc

TABLE = sa.Table(
    "bulk_rows",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("owner", sa.Uuid),
    sa.Column("name", sa.String(64)),
    sa.Column("document", JSONType),
    sa.Column("at", UTCDateTime),
)
TEXTS = ["plain", "tab\tline\nreturn\r", "back\\slash \\n \\N \\.", "美 'quoted' \"twice\"", "", None,
         "a\ttab", "a\nline", "a\rreturn", "a\\slash", "\\N"]  # fmt: skip
MOMENT = datetime(2026, 11, 28, 23, 59, 59, 7, timezone(timedelta(hours=-5)))


def stored(database: Database) -> list[Any]:
    with database.read_session() as session:
        return [tuple(row) for row in session.execute(sa.select(TABLE).order_by(TABLE.c.id))]


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:FEW], TEXTS[FEW:], TEXTS[1:2]], ids=["many", "few", "others", "one"])
def test_values_come_back_as_they_were(database: Database, texts: list[str | None]) -> None:
    rows = [(number, uuid4(), text, {"a": text, "n": 1.5}, MOMENT) for number, text in enumerate(texts)]
    with database.session() as session:
        TABLE.create(session.connection())
        dialect = session.get_bind().dialect.name
        given = [
            (number, driver_value(dialect, owner), text, json.dumps(document),
             driver_value(dialect, in_utc(at)))
            for number, owner, text, document, at in rows
        ]  # fmt: skip
        insert_rows(session.connection(), TABLE, [column.name for column in TABLE.columns], given)
    assert stored(database) == [(*row[:4], MOMENT.astimezone(UTC)) for row in rows]


@pytest.mark.parametrize("num_rows", [2, FEW + 1])
def test_a_row_that_breaks_a_constraint_is_told_as_an_error_of_sqlalchemy_without_values(
    database: Database, num_rows: int
) -> None:
    with database.session() as session:
        TABLE.create(session.connection())
    with pytest.raises(sa.exc.IntegrityError) as told, database.session() as session:
        insert_rows(session.connection(), TABLE, ["id", "name"], [(1, "secret-name")] * num_rows)
    assert "secret-name" not in str(told.value)
    assert stored(database) == []
