"""`paaplus bench seed`: rows as the platform would have written them."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import FeedbackRow, ImageRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.errors import Conflict, InvalidInput
from paaplus.services import scheduling
from paaplus.services.feedback import feedback_log, intake
from paaplus.services.feedback.intake import NewEvent
from paaplus.services.operations.seed import SeedPlan, seed
from paaplus.settings import Settings

PLAN = SeedPlan("bench", num_users=7, num_feedback=5, num_images=11, num_due=3)


@pytest.mark.slow
def test_rows_read_as_a_log_and_counters_fit(database: Database) -> None:
    seeded = seed(database, PLAN)
    assert (seeded.users, seeded.images, seeded.feedback) == (7, 11, 35)
    with database.read_session() as session:
        users = list(session.execute(sa.select(UserRow).order_by(UserRow.id)).scalars())
        images = set(session.execute(sa.select(ImageRow.id)).scalars())
        for number, user in enumerate(users):
            log = feedback_log.read(session, user, "key")
            assert [event.sequence for event in log.events] == [1, 2, 3, 4, 5]
            assert len(log.image_ids()) == 5
            assert log.image_ids() <= images
            assert all(0 <= event.scores["beauty"] <= 10 for event in log.events)
            count, since = scheduling.count_pending(session, [user.id])[user.id]
            assert (user.pending_count, user.pending_since is None) == (count, since is None)
            assert count == (5 if number < 3 else 0)
            assert user.policy == {}


def test_due_users_are_found_by_a_scan(database: Database, tmp_path: Path) -> None:
    seed(database, PLAN)
    settings = Settings(home=tmp_path, database_url=database.engine.url.render_as_string(hide_password=False))
    assert scheduling.scan(database, settings).num_enqueued == 3


def test_seeded_event_that_is_posted_is_known(database: Database, tmp_path: Path) -> None:
    seed(database, PLAN)
    with database.session() as session:
        user, image_id = session.execute(sa.select(FeedbackRow.user_id, FeedbackRow.image_id).limit(1)).one()
        event = NewEvent(0, user, "seed-3", FeedbackKind.RETRACTION, {}, image_id, retracts_event_id="seed-1")
        [result] = intake.append(session, None, [event], source="test", settings=Settings(home=tmp_path))
    assert isinstance(result.error, Conflict)


def test_a_second_seed_adds_to_the_first(database: Database) -> None:
    first, second = seed(database, PLAN), seed(database, PLAN)
    assert first.prefix != second.prefix
    with database.read_session() as session:
        assert session.execute(sa.select(sa.func.count()).select_from(FeedbackRow)).scalar_one() == 70


def test_many_rows_are_made_in_parts(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paaplus.services.operations.seed._BATCH", 4)
    seed(database, PLAN)
    with database.read_session() as session:
        for table, count in ((UserRow, 7), (ImageRow, 11), (FeedbackRow, 35)):
            assert session.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() == count


@pytest.mark.parametrize("numbers", [(3, 1, 0, 0), (3, 0, 0, 4), (-1, 0, 0, 0)])
def test_plans_that_cannot_be(numbers: tuple[int, int, int, int]) -> None:
    with pytest.raises(InvalidInput):
        SeedPlan("bench", *numbers)
