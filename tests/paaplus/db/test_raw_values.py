"""Values as the driver gives them are those that the columns' types give."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta, timezone
from uuid import uuid4

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.raw_values import from_json_text, microseconds, moment_of, raw, uuid_of
from paaplus.db.tables import FeedbackRow, ImageRow
from paaplus.services.feedback.feedback_log import answer_time
from tests.support.factories import make_feedback, make_image, make_user


def test_rows_read_raw_are_those_read_by_type(database: Database) -> None:
    with database.session() as session:
        image_id = make_image(session).id
        columns = ImageRow.id, ImageRow.created_at, ImageRow.application
        [(typed_id, typed_at, application)] = session.execute(sa.select(*columns)).all()
        [(raw_id, raw_at, raw_name)] = session.execute(sa.select(raw(columns[0]), raw(columns[1]), raw(columns[2])))
    assert uuid_of(raw_id) == typed_id == image_id
    assert uuid_of(raw_id) is uuid_of(raw_id)
    assert raw_name == application
    assert moment_of(raw_at) == typed_at


def test_times_of_events_read_raw_are_those_read_by_type(database: Database) -> None:
    earlier, later = (datetime(2026, 2, 3, 4, 5, 6, n, tzinfo=UTC) for n in (789_012, 789_013))
    with database.session() as session:
        user, image_id = make_user(session), make_image(session).id
        make_feedback(session, user, image_id=image_id, received_at=later, occurred_at=earlier)
        make_feedback(session, user, image_id=image_id, received_at=earlier, occurred_at=later)
        make_feedback(session, user, image_id=image_id, received_at=later)
        columns = FeedbackRow.occurred_at, FeedbackRow.received_at
        rows = session.execute(sa.select(*map(raw, columns), *columns).order_by(FeedbackRow.sequence)).all()
    for raw_occurred, raw_received, occurred_at, received_at in rows:
        assert (moment_of(raw_occurred), moment_of(raw_received)) == (occurred_at, received_at)
    answered = [answer_time(raw_occurred, raw_received) for raw_occurred, raw_received, *_ in rows]
    assert answered == [microseconds(moment) for moment in (earlier, earlier, later)]


def test_microseconds_of_a_time_do_not_depend_on_its_zone() -> None:
    moment = datetime(2026, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC)
    elsewhere = moment.astimezone(timezone(timedelta(hours=5)))
    assert microseconds(moment) == microseconds(elsewhere) == microseconds(moment.replace(tzinfo=None))
    assert microseconds(moment) == round(moment.timestamp()) * 1_000_000 - 1_000_000 + 789_012


@pytest.mark.parametrize("value", [1, -0.0, 10**30, 1e-320, True, None, "\ud800", "é\u0000", {"a": [1.5, {}]}, []])
def test_json_is_read_as_the_standard_library_reads_it(value: object) -> None:
    read = from_json_text(json.dumps(value))
    assert read == value
    assert type(read) is type(value)


def test_every_float_comes_back_to_the_bit() -> None:
    rng = random.Random(0)
    floats = [rng.uniform(-100, 100) * 10 ** rng.randint(-30, 30) for _ in range(5_000)]
    assert from_json_text(json.dumps(floats)) == floats


def test_text_that_is_no_json_is_refused() -> None:
    with pytest.raises(json.JSONDecodeError):
        from_json_text("{")


def test_ids_are_taken_as_texts_and_as_ids() -> None:
    value = uuid4()
    assert uuid_of(value.hex) == uuid_of(str(value)) == uuid_of(value) == value
