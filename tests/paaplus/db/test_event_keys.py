"""Short keys of events: always the same, in Python and in SQL."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.event_keys import event_key, prepare_sql, short_digest, sql_event_key
from paaplus.db.tables import UserRow
from tests.support.factories import make_user


def test_keys_are_those_of_stored_events() -> None:
    """Another key would make an event that is posted again a new one."""
    assert event_key("0198c2f5a1b07c3d8e4f5a6b7c8d9e0f", "ada-0001") == 1147716644115117473
    assert short_digest("") == int.from_bytes(bytes.fromhex("e3b0c44298fc1c14"), signed=True)


@pytest.mark.parametrize("event_id", ["ada-0001", "é 'quoted' ☃", ""])
def test_sql_makes_the_same_key(database: Database, event_id: str) -> None:
    with database.session() as session:
        user = make_user(session)
        connection = session.connection()
        prepare_sql(connection)
        key = sql_event_key(connection.dialect.name, UserRow.__table__.c.id, sa.literal(event_id, sa.String()))
        assert connection.execute(sa.select(key)).scalar_one() == event_key(user.id.hex, event_id)
