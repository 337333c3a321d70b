"""Exclusions: rows of runs of events, which a release of a part divides."""

from __future__ import annotations

from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from paaplus.db.engine import Database
from paaplus.db.tables import ExclusionRow
from paaplus.db.users import locked_user
from paaplus.errors import InvalidInput, NotFound
from paaplus.ids import new_id
from paaplus.services.feedback import event_numbers, exclusions, listing
from paaplus.services.feedback.counted_events import TrainedUpTo
from paaplus.services.feedback.listing import EventFilter
from paaplus.services.users.keys import OPERATOR
from tests.support.factories import make_feedback, make_image, make_user


@pytest.fixture
def anna(database: Database) -> UUID:
    """A user with ten events."""
    with database.session() as session:
        user, image = make_user(session, policy={"min_new_feedback": 1}), make_image(session)
        for _ in range(10):
            make_feedback(session, user, image_id=image.id)
        return user.id


def exclude(database: Database, user_id: UUID, sequences: set[int], actor: str = "admin") -> None:
    with database.session() as session:
        user = locked_user(session, user_id)
        exclusions.exclude(session, user, sequences, actor=actor, reason="why")
        user.epoch += 1


def rows(database: Database, user_id: UUID) -> list[tuple[int, int, bool]]:
    """First and last event, and whether the exclusion holds."""
    with database.read_session() as session:
        found = session.execute(
            sa.select(ExclusionRow).where(ExclusionRow.user_id == user_id).order_by(ExclusionRow.first_sequence)
        ).scalars()
        return [(row.first_sequence, row.last_sequence, row.released_at is None) for row in found]


def listed(database: Database, user_id: UUID) -> list[int]:
    with database.read_session() as session:
        return [event.sequence for event in exclusions.list_open(session, user_id)]


def test_a_row_is_of_a_run(database: Database, anna: UUID) -> None:
    exclude(database, anna, {2, 3, 4, 7, 8})
    assert rows(database, anna) == [(2, 4, True), (7, 8, True)]
    assert listed(database, anna) == [2, 3, 4, 7, 8]


def test_a_release_of_a_part_keeps_the_rest_and_what_versions_were_trained_on(database: Database, anna: UUID) -> None:
    exclude(database, anna, set(range(3, 9)))
    with database.session() as session:
        assert exclusions.release(session, anna, sequences=[3, 5, 6], actor="admin", reason="fine") == 3
    assert rows(database, anna) == [(3, 3, False), (4, 4, True), (5, 6, False), (7, 8, True)]
    assert listed(database, anna) == [4, 7, 8]
    with database.session() as session:
        found = session.execute(sa.select(ExclusionRow).where(ExclusionRow.user_id == anna)).scalars().all()
        assert {(row.reason, row.actor, row.excluded_epoch) for row in found} == {("why", "admin", 1)}
        assert {row.released_by for row in found if row.released_at is not None} == {"admin"}
        with pytest.raises(NotFound):
            exclusions.release(session, anna, sequences=[5], actor="admin", reason="again")
        log = event_numbers.read_many(session, [anna])[anna]
    assert log.trained(TrainedUpTo(10, 0)) == set(range(1, 11)), "before the exclusion"
    assert log.trained(TrainedUpTo(10, 1)) == {1, 2, 9, 10}
    assert log.trained(TrainedUpTo(10, 2)) == {1, 2, 3, 5, 6, 9, 10}


def test_a_released_event_may_be_excluded_again(database: Database, anna: UUID) -> None:
    exclude(database, anna, {3, 4, 5}, actor="gate")
    with database.session() as session:
        user = locked_user(session, anna)
        exclusions.close(session, user, {3, 4}, actor="gate")
        exclusions.exclude(session, user, {3, 4}, actor="admin", reason="why")
    assert rows(database, anna) == [(3, 4, False), (3, 4, True), (5, 5, True)] or rows(database, anna) == [
        (3, 4, True),
        (3, 4, False),
        (5, 5, True),
    ]
    with database.read_session() as session:
        kinds = {each.sequence: exclusions.kind_of(each.exclusion) for each in exclusions.list_open(session, anna)}
        events = listing.list_events(session, OPERATOR, EventFilter(user_id=anna), order="oldest")
    assert kinds == {3: "rollback", 4: "rollback", 5: "quarantine"}
    assert {event.row.sequence: event.excluded for event in events if event.excluded is not None} == kinds


def test_no_event_is_excluded_twice(database: Database, anna: UUID) -> None:
    exclude(database, anna, {3, 4})
    with pytest.raises(IntegrityError):
        exclude(database, anna, {3})


def test_pages_go_on_after_an_event_that_was_released_meanwhile(database: Database, anna: UUID) -> None:
    exclude(database, anna, {2, 3, 4, 7})
    with database.read_session() as session:
        page = exclusions.list_open(session, anna, limit=2)
    with database.session() as session:
        exclusions.release(session, anna, sequences=[3], actor="admin", reason="fine")
        rest = exclusions.list_open(session, anna, after=page[-1].id)
        with pytest.raises(InvalidInput):
            exclusions.list_open(session, anna, after=new_id())  # as cursors were when events had such ids
    assert [event.sequence for event in page] == [2, 3]
    assert [event.sequence for event in rest] == [4, 7]
