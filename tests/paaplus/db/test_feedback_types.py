"""Column types of the feedback log: values come back as they were given, and take few bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import StatementError

from paaplus.db.engine import Database
from paaplus.db.feedback_types import KEY_PREFIX, exchanged, packed, stored_source, unpacked
from paaplus.db.tables import FeedbackRow
from tests.support.factories import make_base_model, make_feedback, make_image, make_receipt, make_user

SCALE = {"min": 1, "max": 7}
KEY = "01932a7c-8f3e-7c55-b7a0-3f3a5d7f00ff"
SHORT = "~AZMqfI8-fFW3oD86XX8A_w"  # of the same bytes
PREFIXES = st.sampled_from(["", KEY_PREFIX])
# Texts of clients, and those that nearly are, or look like, what is stored.
TEXTS = st.one_of(
    st.text(max_size=64),
    st.uuids().map(str),
    st.uuids().map(lambda key: f"{KEY_PREFIX}{key}"),
    st.uuids().map(lambda key: exchanged(str(key))),
    st.from_regex("(key:)?[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", fullmatch=True),
    st.from_regex("~{1,3}[A-Za-z0-9_-]{20,22}[AQgw]?", fullmatch=True),
)


@pytest.mark.parametrize(
    ("payload", "is_packed"),
    [
        ({"ratings": {"beauty": 5.5}, "scale": SCALE}, True),
        ({"scale": {"max": 10, "min": -0.0}, "ratings": {}}, True),
        ({"ratings": {"beauty": 5}, "scale": SCALE, "note": "x"}, False),
        ({"ratings": {"beauty": 5}, "scale": {**SCALE, "step": 1}}, False),
        ({"ratings": {"beauty": 5}, "scale": [1, 7]}, False),
        ({"ratings": {"beauty": 5}}, False),
        ({"preference": {"beauty": "first"}}, False),
        ({"liked": True}, False),
        ({}, False),
    ],
)
def test_payload_comes_back_as_it_was(database: Database, payload: dict[str, Any], is_packed: bool) -> None:
    assert isinstance(packed(payload), list) is is_packed
    assert unpacked(packed(payload)) == unpacked(payload) == payload
    with database.session() as session:
        user = make_user(session)
        event_id = make_feedback(session, user, image_id=make_image(session).id, payload=payload).id
        session.expire_all()
        assert session.get_one(FeedbackRow, event_id).payload == payload


@pytest.mark.parametrize("stored", ['{"ratings": {"beauty": 5}, "scale": {"min": 1, "max": 7}}', '[{"beauty":5},1,7]'])
def test_rating_is_read_packed_or_not(database: Database, stored: str) -> None:
    with database.session() as session:
        make_feedback(session, make_user(session), image_id=make_image(session).id)
        value = ":stored" if database.engine.dialect.name == "sqlite" else "CAST(:stored AS json)"
        session.execute(sa.text(f"UPDATE feedback SET payload = {value}"), {"stored": stored})
        session.expire_all()
        found = session.execute(sa.select(FeedbackRow.payload)).scalar_one()
    assert found == {"ratings": {"beauty": 5}, "scale": SCALE}


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_time_comes_back_in_utc_to_the_microsecond(database: Database, moment: datetime) -> None:
    with database.session() as session:
        user, image = make_user(session), make_image(session)
        event = make_feedback(session, user, image_id=image.id, received_at=moment, occurred_at=moment)
        session.expire_all()
        assert (event.received_at, event.occurred_at) == (moment, moment)
        assert event.received_at.tzinfo is UTC
        earlier = sa.select(sa.func.count()).where(FeedbackRow.received_at < moment + timedelta(microseconds=1))
        assert session.execute(earlier).scalar_one() == 1
        assert session.execute(sa.select(sa.func.min(FeedbackRow.received_at))).scalar_one() == moment


def test_time_without_a_zone_is_refused(database: Database) -> None:
    with database.session() as session, pytest.raises(StatementError, match="time zone"):
        make_feedback(session, make_user(session), image_id=None, received_at=datetime(2026, 1, 1))


@pytest.mark.parametrize("column", ["other_image_id", "receipt_id"])
def test_reference_of_few_events_is_checked_by_the_index_of_these(database: Database, column: str) -> None:
    """Of SQLite's foreign keys no plan is shown, but a scan takes more steps than there are events."""
    parents = {"other_image_id": "images", "receipt_id": "prediction_receipts"}
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    with database.session() as session:
        user, rated, parent = make_user(session), make_image(session), make_image(session)
        base = make_base_model(session)
        if column == "receipt_id":
            parent = make_receipt(session, user_id=user.id, image_id=rated.id, base_model_id=base.id)
        if database.engine.dialect.name == "postgresql":
            session.execute(sa.text("SET LOCAL enable_seqscan = off"))
            plan = f"EXPLAIN SELECT 1 FROM ONLY feedback WHERE '{parent.id}' = {column}"
            assert f"ix_feedback_{column}" in str(session.execute(sa.text(plan)).all())
            return
        event = {
            "user_id": user.id, "kind": "rating", "image_id": rated.id, "payload": {}, "body_digest": 0, "source": "x",
            "received_at": datetime.now(UTC),
        }  # fmt: skip
        session.execute(sa.insert(FeedbackRow), [{**event, "sequence": n, "event_id": str(n)} for n in range(5_000)])
        driver: Any = session.connection().connection.driver_connection
        driver.set_progress_handler(count, 1)
        session.execute(sa.text(f"DELETE FROM {parents[column]} WHERE id = :id"), {"id": parent.id.hex})
        driver.set_progress_handler(None, 0)
    assert 0 < steps < 1_000


@given(TEXTS, PREFIXES)
def test_text_comes_back_from_what_is_stored_and_is_no_longer(text: str, prefix: str) -> None:
    stored = exchanged(text, prefix)
    assert exchanged(stored, prefix) == text
    assert len(stored) <= max(len(text), len(prefix) + 36)


@given(TEXTS, TEXTS, PREFIXES)
def test_two_texts_are_stored_as_two(one: str, other: str, prefix: str) -> None:
    assert (exchanged(one, prefix) == exchanged(other, prefix)) is (one == other)


@pytest.mark.parametrize(
    ("text", "prefix", "stored"),
    [
        (KEY, "", SHORT),
        (f"key:{KEY}", KEY_PREFIX, SHORT),
        (SHORT, "", KEY),
        (SHORT, KEY_PREFIX, f"key:{KEY}"),
        (KEY, KEY_PREFIX, KEY),
        (f"key:{KEY}", "", f"key:{KEY}"),
        (KEY.upper(), "", KEY.upper()),
        (KEY.replace("-", ""), "", KEY.replace("-", "")),
        (f"{KEY[:-1]}\n", "", f"{KEY[:-1]}\n"),
        (KEY.replace("0", "\u0660"), "", KEY.replace("0", "\u0660")),  # an Arabic nought
        (f"{SHORT[:-1]}x", "", f"{SHORT[:-1]}x"),  # the last character has bits that nothing needs
        (f"~{SHORT}", "", f"~{SHORT}"),
        ("review", KEY_PREFIX, "review"),
        ("", KEY_PREFIX, ""),
    ],
)
def test_only_a_uuid_as_it_is_written_and_its_short_text_change_places(text: str, prefix: str, stored: str) -> None:
    assert exchanged(text, prefix) == stored
    if prefix:
        assert stored_source(text) == stored


def test_sources_and_event_ids_are_stored_short_and_found_by_what_was_given(database: Database) -> None:
    given_texts = [(f"key:{KEY}", KEY), (SHORT, SHORT), ("import:scores.csv", "import:1"), ("key:", "e~")]
    with database.session() as session:
        user, image_id = make_user(session), make_image(session).id
        for source, event_id in given_texts:
            make_feedback(session, user, image_id=image_id, source=source, event_id=event_id)
        session.expire_all()
        stored = session.execute(sa.text("SELECT source, event_id FROM feedback ORDER BY id")).all()
        assert list(map(tuple, stored)) == [(SHORT, SHORT), (f"key:{KEY}", KEY), *given_texts[2:]]
        found = sa.select(FeedbackRow.source, FeedbackRow.event_id).order_by(FeedbackRow.id)
        assert list(map(tuple, session.execute(found))) == given_texts
        for source, event_id in given_texts:
            assert session.execute(found.where(FeedbackRow.source == source)).one() == (source, event_id)
            assert session.execute(found.where(FeedbackRow.event_id.in_([event_id]))).one() == (source, event_id)
        imported = found.where(FeedbackRow.source.startswith("import:", autoescape=True))
        assert session.execute(imported).one() == given_texts[2]
        counted = sa.select(FeedbackRow.source, sa.func.count()).group_by(FeedbackRow.source)
        assert dict(map(tuple, session.execute(counted))) == {source: 1 for source, _ in given_texts}
