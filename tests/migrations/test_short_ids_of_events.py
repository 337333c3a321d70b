"""The step to short sources and event ids and back: each text becomes what the code reads as it, in both directions."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from paaplus.db import migrate
from paaplus.db.engine import Database
from paaplus.db.event_keys import event_key
from paaplus.db.feedback_types import KEY_PREFIX, exchanged
from paaplus.db.tables import FeedbackRow
from paaplus.ids import new_id
from tests.migrations.rows import all_rows, insert_one_row_everywhere, reflect

BEFORE, AFTER = "e2a94c7b1d60", "b7f03a9c52d8"
KEY = "01932a7c-8f3e-7c55-b7a0-3f3a5d7f00ff"
SHORT = exchanged(KEY)
SOURCES_AND_IDS = [
    (f"key:{KEY}", KEY),
    (f"key:{KEY}", "event-1"),
    ("review", "00000000-0000-0000-0000-000000000000"),
    ("key:ffffffff-ffff-ffff-ffff-ffffffffffff", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    (SHORT, SHORT),
    (KEY, f"key:{KEY}"),
    (f"key:{KEY.upper()}", KEY.upper()),
    (f"key:{KEY}\n", f"{KEY[:-1]}\n"),
    (f"~{SHORT}", f"{SHORT[:-1]}x"),
    ("import:\u00e9 ':\\ %.csv", "\u00e9" * 128),
    ("key:", "~" + "\u0660" * 21 + "A"),
    *((f"key:{key}", str(key)) for key in (new_id() for _ in range(50))),
]


@pytest.fixture
def database(empty_database_url: str):
    """A database of before, with a row in every table, and events of one user."""
    migrate.upgrade(empty_database_url, BEFORE)
    database = Database(empty_database_url)
    with database.engine.begin() as connection:
        insert_one_row_everywhere(connection)
        events = reflect(connection).tables["feedback"]
        first = dict(connection.execute(sa.select(events)).mappings().one())
        for number, (source, event_id) in enumerate(SOURCES_AND_IDS, 100):
            changed = {"id": number, "sequence": number, "source": source, "event_id": event_id}
            user = str(first["user_id"]).replace("-", "")
            connection.execute(events.insert(), {**first, **changed, "event_key": event_key(user, event_id)})
    yield database
    database.dispose()


def rows_of(database: Database) -> dict[str, list[Any]]:
    with database.engine.connect() as connection:
        return {name: sorted(rows, key=str) for name, rows in all_rows(connection).items()}


def test_texts_are_stored_as_the_code_stores_them_and_go_back(database: Database, empty_database_url: str) -> None:
    before = rows_of(database)
    migrate.upgrade(empty_database_url, AFTER)
    with database.read_session() as session:
        is_added = FeedbackRow.id >= 100
        stored = session.execute(sa.text("SELECT source, event_id FROM feedback WHERE id >= 100 ORDER BY id")).all()
        assert list(map(tuple, stored)) == [(exchanged(s, KEY_PREFIX), exchanged(e)) for s, e in SOURCES_AND_IDS]
        told = sa.select(FeedbackRow.source, FeedbackRow.event_id).where(is_added).order_by(FeedbackRow.id)
        assert list(map(tuple, session.execute(told))) == SOURCES_AND_IDS
    after = rows_of(database)
    assert {name: len(rows) for name, rows in after.items()} == {name: len(rows) for name, rows in before.items()}

    migrate.downgrade(empty_database_url, BEFORE)
    assert rows_of(database) == before
