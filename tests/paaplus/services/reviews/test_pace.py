"""Pace: what is left, how often labels were right, how long a review takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from paaplus.db.engine import Database
from paaplus.db.tables import ReviewRow
from paaplus.services.reviews import pace, reviews
from paaplus.services.reviews.reviews import Verdict
from paaplus.settings import Settings
from tests.support.reviewing import Reviewing


@pytest.fixture
def world(database: Database, settings: Settings) -> Reviewing:
    return Reviewing(database, settings, num_images=8)


def test_nothing_is_known_before_the_first_verdict(world: Reviewing) -> None:
    world.batch()
    with world.database.read_session() as session:
        found = pace.of_expert(session, world.ada)
    assert (found.num_open, found.num_done, found.num_recent) == (8, 0, 0)
    assert (found.share_accepted, found.mean_correction, found.seconds_each) == (None, {}, None)


def test_counts_corrections_and_seconds_are_those_of_the_verdicts(world: Reviewing) -> None:
    world.batch()
    rows = world.reviews_of(world.ada)
    world.decide(rows[0])
    for row in rows[1:3]:  # corrected by two points
        shown = row.shown["scores"]["beauty"]
        world.decide(row, Verdict.CORRECT, beauty=shown + 2 if shown < 5 else shown - 2)
    world.decide(rows[3], Verdict.SKIP)
    world.decide(rows[4], Verdict.CANNOT_SAY)
    began = datetime(2026, 1, 1, tzinfo=UTC)
    with world.database.session() as session:  # 4, 6, 500 (a pause) and 8 seconds
        for row, seconds in zip(rows, (0, 4, 10, 510, 518), strict=False):
            session.get_one(ReviewRow, row.id).decided_at = began + timedelta(seconds=seconds)
    with world.database.read_session() as session:
        found = pace.of_expert(session, world.ada)
        of_bob = pace.of_expert(session, world.bob)
    assert (found.num_open, found.num_done, found.num_skipped, found.num_cannot_say) == (3, 3, 1, 1)
    assert found.num_recent == 3
    assert found.share_accepted == pytest.approx(1 / 3)
    assert found.mean_correction == {"beauty": pytest.approx(4 / 3)}
    assert found.seconds_each == 6.0
    assert of_bob.num_recent == 0


def test_queue_has_the_next_reviews_in_order(world: Reviewing) -> None:
    world.batch()
    with world.database.read_session() as session:
        rows = reviews.queue(session, world.ada, limit=3)
        first = reviews.next_open(session, world.ada)
    assert first is not None
    assert [row.position for row in rows] == [0, 1, 2]
    assert rows[0].id == first.id
