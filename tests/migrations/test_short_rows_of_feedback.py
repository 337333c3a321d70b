"""The step to short rows of feedback and back: events keep ids, contents and places, and are known when repeated."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from paaplus.db import migrate
from paaplus.db.engine import Database
from paaplus.db.event_keys import event_key
from paaplus.db.tables import FeedbackRow, QuizPairRow, ReviewRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.types import utcnow
from paaplus.errors import Conflict
from paaplus.ids import new_id
from paaplus.services.feedback import intake
from paaplus.services.feedback.intake import NewEvent
from paaplus.settings import Settings
from tests.migrations.rows import all_rows, insert_one_row_everywhere, reflect

BEFORE, AFTER = "7d21c4e8b6f3", "e2a94c7b1d60"
MOMENT = datetime(2026, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC)
RATING = {"ratings": {"beauty": 5.5}, "scale": {"min": 1, "max": 7}}
PAYLOADS: list[tuple[FeedbackKind, dict[str, Any]]] = [
    (FeedbackKind.RATING, RATING),
    (FeedbackKind.RATING, {**RATING, "note": "é ☃"}),
    (FeedbackKind.COMPARISON, {"preference": {"beauty": "first"}}),
    (FeedbackKind.BINARY, {"liked": True}),
    (FeedbackKind.RATING, {"ratings": {"beauty": 0}, "scale": {"min": 0, "max": 10, "step": 1}}),
]


def old_digest(event: NewEvent) -> str:
    content = [event.kind.value, str(event.image_id), str(event.other_image_id), "None", None, event.payload]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@pytest.fixture
def database(empty_database_url: str):
    """A database of before, with a row in every table, and a user with events. Ids are not in order of sequence."""
    migrate.upgrade(empty_database_url, BEFORE)
    database = Database(empty_database_url)
    yield database
    database.dispose()


class Old:
    """Events of a user as an earlier version wrote them, with a review and a pair that name the third and the last."""

    def __init__(self, database: Database) -> None:
        with database.engine.begin() as connection:
            insert_one_row_everywhere(connection)
            self.tables = tables = reflect(connection).tables
            is_sqlite = connection.dialect.name == "sqlite"
            [user] = connection.execute(sa.select(tables["users"])).mappings().all()
            [image] = connection.execute(sa.select(tables["images"])).mappings().all()
            connection.execute(tables["feedback"].delete())
            aspects = tables["base_models"].update().values(aspects=["beauty"])
            connection.execute(aspects)
            self.user = UUID(str(user["id"]))
            second = {**image, **{name: str(new_id()) for name in ("sha256", "upload_sha256", "name", "external_id")}}
            second["id"] = new_id().hex if is_sqlite else new_id()
            connection.execute(tables["images"].insert(), second)
            applications = tables["images"].update().values(application=user["application"], owner_id=user["id"])
            connection.execute(applications)
            images = [UUID(str(image["id"])), UUID(str(second["id"]))]
            self.events = [
                NewEvent(
                    n, self.user, f"event-{n}", kind, payload, images[0],
                    images[1] if kind == FeedbackKind.COMPARISON else None,
                )
                for n, (kind, payload) in enumerate(PAYLOADS)
            ]  # fmt: skip
            self.ids = [new_id() for _ in self.events]
            connection.execute(
                tables["feedback"].insert(),
                [
                    {
                        "id": row_id.hex if is_sqlite else row_id,
                        "user_id": user["id"],
                        "sequence": event.index + 1,
                        "event_id": event.event_id,
                        "kind": event.kind.value,
                        "image_id": image["id"],
                        "other_image_id": second["id"] if event.other_image_id else None,
                        "receipt_id": None,
                        "retracts_sequence": None,
                        "payload": event.payload,
                        "body_digest": old_digest(event),
                        "source": "before",
                        "occurred_at": None if event.index else MOMENT.replace(tzinfo=None if is_sqlite else UTC),
                        "received_at": (MOMENT + timedelta(microseconds=event.index)).replace(
                            tzinfo=None if is_sqlite else UTC
                        ),
                    }
                    for event, row_id in zip(self.events, self.ids, strict=True)
                ],
            )
            third, last = (row_id.hex if is_sqlite else row_id for row_id in (self.ids[2], self.ids[-1]))
            connection.execute(tables["reviews"].update().values(feedback_id=third))
            connection.execute(tables["quiz_pairs"].update().values(feedback_id=last))
            connection.execute(tables["users"].update().values(feedback_sequence=len(self.events), policy={}))
            self.rows = all_rows(connection)


def test_events_keep_what_clients_know_of_them(database: Database, empty_database_url: str) -> None:
    old = Old(database)
    migrate.upgrade(empty_database_url, AFTER)
    with database.read_session() as session:
        rows = session.execute(sa.select(FeedbackRow).order_by(FeedbackRow.id)).scalars().all()
        assert [row.shown_id for row in rows] == old.ids
        assert [row.sequence for row in rows] == [1, 2, 3, 4, 5], "in the order of their ids"
        assert [(row.kind, row.payload) for row in rows] == PAYLOADS
        assert [row.received_at - MOMENT for row in rows] == [timedelta(microseconds=n) for n in range(5)]
        assert [row.occurred_at for row in rows] == [MOMENT, None, None, None, None]
        assert [row.event_key for row in rows] == [event_key(old.user.hex, e.event_id) for e in old.events]
        assert [row.body_digest for row in rows] == [event.body_digest() for event in old.events]
        assert session.execute(sa.select(ReviewRow.feedback_id)).scalar_one() == rows[2].id
        assert session.execute(sa.select(QuizPairRow.feedback_id)).scalar_one() == rows[-1].id


def test_repeated_event_is_known_and_another_one_refused(
    database: Database, empty_database_url: str, tmp_path: Path
) -> None:
    old = Old(database)
    migrate.upgrade(empty_database_url)
    with database.session() as session:
        changed = NewEvent(9, old.user, "event-0", FeedbackKind.RATING, PAYLOADS[1][1], old.events[0].image_id)
        new = NewEvent(9, old.user, "new", FeedbackKind.RATING, RATING, old.events[0].image_id)
        results = intake.append(
            session, None, [*old.events, changed, new], source="now", settings=Settings(home=tmp_path)
        )
    assert [(r.status, r.sequence) for r in results[:5]] == [("duplicate", n) for n in range(1, 6)]
    assert isinstance(results[5].error, Conflict)
    assert (results[6].status, results[6].sequence) == ("accepted", 6), results[6].error


def test_going_down_brings_the_columns_back(database: Database, empty_database_url: str) -> None:
    old = Old(database)
    migrate.upgrade(empty_database_url, AFTER)
    with database.session() as session:
        row = session.execute(sa.select(FeedbackRow).where(FeedbackRow.sequence == 1)).scalar_one()
        new = FeedbackRow(
            user_id=old.user, sequence=6, event_id="new", kind=FeedbackKind.RATING, image_id=row.image_id,
            payload=RATING, body_digest=-1, source="now", received_at=utcnow() + timedelta(days=1),
        )  # fmt: skip
        session.add(new)
        session.flush()
        shown, digests = new.shown_id, [event.body_digest() for event in old.events]
    migrate.downgrade(empty_database_url, BEFORE)
    with database.engine.connect() as connection:
        found = all_rows(connection)
        [added] = [row for row in found["feedback"] if row["sequence"] == 6]
        assert UUID(str(added["id"])) == shown
        assert added["body_digest"] == "f" * 16 + "0" * 48
        found["feedback"].remove(added)
        for row in old.rows["feedback"]:
            row["body_digest"] = row["body_digest"][:16] + "0" * 48
        key = str
        for name, rows in old.rows.items():
            assert sorted(found[name], key=key) == sorted(
                ({c: row[c] for c in found[name][0]} for row in rows), key=key
            )

    migrate.upgrade(empty_database_url)
    with database.read_session() as session:
        rows = session.execute(sa.select(FeedbackRow).order_by(FeedbackRow.id)).scalars().all()
        assert [row.shown_id for row in rows] == [*old.ids, shown]
        assert [row.body_digest for row in rows] == [*digests, -1]
