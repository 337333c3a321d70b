"""The step from an exclusion for each event to one for each run of events, and back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from paaplus.db import migrate
from paaplus.db.engine import make_engine
from paaplus.ids import new_id
from tests.migrations.rows import all_rows, insert_one_row_everywhere, reflect

BEFORE, AFTER = "d06e83b1f7a5", "f4a7c2d95b31"
ROLLED_BACK = {"reason": "bad", "actor": "admin", "excluded_epoch": 1, "released_epoch": None, "released_by": None}
QUARANTINED = {**ROLLED_BACK, "actor": "gate"}
RELEASED = {**ROLLED_BACK, "released_epoch": 2, "released_by": "admin"}
MOMENT = datetime(2026, 2, 3, tzinfo=UTC)
# Events of a user by sequence number, with the acts that excluded them. Between 5 and 7 one is not excluded.
ACTS: dict[int, list[dict[str, Any]]] = {
    11: [ROLLED_BACK],
    12: [ROLLED_BACK],
    13: [RELEASED, ROLLED_BACK],
    14: [RELEASED],
    16: [RELEASED],
    17: [QUARANTINED],
    18: [QUARANTINED],
}


def test_runs_of_one_act_become_a_row_and_rows_of_events_again(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url, BEFORE)
    engine = make_engine(empty_database_url)
    with engine.begin() as connection:
        insert_one_row_everywhere(connection)  # one exclusion, of event 7 of a user
        users = [_with_events(connection), _with_events(connection)]
        before = _by_event(connection)
    assert sum(len(events) for user, events in before.items() if user in users) == 16

    migrate.upgrade(empty_database_url, AFTER)
    with engine.connect() as connection:
        found = all_rows(connection)["exclusions"]
    for user in users:
        runs = [
            (row["first_sequence"], row["last_sequence"], row["actor"], row["released_epoch"])
            for row in found
            if row["user_id"] == user
        ]
        assert sorted(runs, key=str) == [
            (11, 13, "admin", None),
            (13, 14, "admin", 2),
            (16, 16, "admin", 2),
            (17, 18, "gate", None),
        ]
    assert len({row["id"] for row in found}) == len(found) == 9

    migrate.downgrade(empty_database_url, BEFORE)
    with engine.connect() as connection:
        assert _by_event(connection) == before
        ids = [row["id"] for row in all_rows(connection)["exclusions"]]
    assert len(set(ids)) == len(ids)
    engine.dispose()


def _with_events(connection: sa.Connection) -> Any:
    """Another user like the one that is there, with events 11 to 18."""
    tables = reflect(connection).tables
    rows = {name: dict(connection.execute(sa.select(tables[name])).mappings().first() or {}) for name in
            ("users", "feedback", "exclusions")}  # fmt: skip
    user_id = _new_id(connection)
    connection.execute(tables["users"].insert(), {**rows["users"], "id": user_id, "external_id": str(user_id)})
    for sequence in range(11, 19):
        event_id = _new_id(connection)
        changed = {"id": event_id, "user_id": user_id, "sequence": sequence, "event_id": str(sequence)}
        connection.execute(tables["feedback"].insert(), {**rows["feedback"], **changed})
        for act in ACTS.get(sequence, ()):
            released_at = MOMENT.replace(tzinfo=_zone(tables)) if act["released_by"] is not None else None
            own = {"id": _new_id(connection), "user_id": user_id, "feedback_id": event_id, "released_at": released_at}
            connection.execute(tables["exclusions"].insert(), {**rows["exclusions"], **act, **own})
    return user_id


def _new_id(connection: sa.Connection) -> Any:
    """As a reflected table takes it: SQLite's ids are texts."""
    return new_id().hex if connection.dialect.name == "sqlite" else new_id()


def _zone(tables: Any) -> Any:
    return UTC if getattr(tables["exclusions"].c.released_at.type, "timezone", False) else None


def _by_event(connection: sa.Connection) -> dict[Any, list[tuple[Any, ...]]]:
    """Every column of exclusions but their ids, by user."""
    found: dict[Any, list[tuple[Any, ...]]] = {}
    for row in all_rows(connection)["exclusions"]:
        values = tuple(str(value) for name, value in sorted(row.items()) if name != "id")
        found.setdefault(row["user_id"], []).append(values)
    return {user: sorted(rows) for user, rows in found.items()}
