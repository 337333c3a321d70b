"""The counters of pending events on the user's row: always what counting the log would give."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paaplus.db.engine import Database
from paaplus.db.tables import ExclusionRow, FeedbackRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.errors import PaaplusError
from paaplus.services.adapters import rollbacks
from paaplus.services.feedback import exclusions
from paaplus.services.feedback.intake import NewEvent
from paaplus.services.users import users
from paaplus.settings import Settings
from tests.support.deployment import Deployment

ACTS = st.one_of(
    st.tuples(st.just("rate"), st.lists(st.integers(0, 15), min_size=1, max_size=6)),
    st.tuples(st.just("retract"), st.integers(0, 20)),
    st.tuples(st.just("train"), st.none()),
    st.tuples(st.just("rollback"), st.sampled_from(["exclude", "keep"])),
    st.tuples(st.just("release"), st.none()),
    st.tuples(st.just("pause"), st.booleans()),
)


class Person:
    """One user of a deployment; `act` does one thing to the user."""

    def __init__(self, deployment: Deployment, name: str) -> None:
        self.deployment = deployment
        self.user = deployment.add_user(name, min_new_feedback=4)
        self.ids: list[str] = []

    def act(self, act: str, value: object) -> None:
        database, user = self.deployment.database, self.user
        if act == "rate":
            new = [f"e{len(self.ids) + i}" for i in range(len(value))]
            again = self.ids[-1:]  # posted before
            self.ids += new
            events = [
                self.deployment.rating(user, e, image, 5, i)
                for i, (e, image) in enumerate(zip(new, value, strict=True))
            ]
            events += [self.deployment.rating(user, e, 0, 9, len(new)) for e in again]  # refused or a duplicate
            self._post(events)
        elif act == "retract" and self.ids:
            target = self.ids[int(value) % len(self.ids)]
            event = {"event_id": f"back-{target}-{len(self.ids)}", "retracts_event_id": target, "payload": {}}
            self._post([NewEvent(index=0, user_id=user, kind=FeedbackKind.RETRACTION, **event)])
        elif act == "train":
            self.deployment.work()
        elif act == "pause":
            with database.session() as session:
                users.set_policy(session, user, {"min_new_feedback": 4, "paused": value}, actor="test")
        elif act in ("rollback", "release"):
            try:
                with database.session() as session:
                    if act == "rollback":
                        rollbacks.rollback(session, user, to="base", feedback=value, actor="test", reason="try")
                    else:
                        exclusions.release(session, user, sequences=None, actor="test", reason="try")
            except PaaplusError:
                pass  # there is nothing to roll back

    def _post(self, events: list[NewEvent]) -> None:
        from paaplus.services.feedback import intake

        with self.deployment.database.session() as session:
            intake.append(session, None, events, source="test", settings=self.deployment.settings)

    def counters(self) -> tuple[object, object]:
        row = self.deployment.user(self.user)
        return row.pending_count, row.pending_since

    def counted(self) -> tuple[object, object]:
        """By counting the log, written here without the code under test."""
        with self.deployment.database.read_session() as session:
            user = session.get_one(UserRow, self.user)
            held = (ExclusionRow.user_id == self.user, ExclusionRow.released_at.is_(None))
            runs = session.execute(sa.select(ExclusionRow.first_sequence, ExclusionRow.last_sequence).where(*held))
            excluded = [sequence for first, last in runs for sequence in range(first, last + 1)]
            assert len(set(excluded)) == len(excluded), "an event is excluded twice"
            events = session.execute(
                sa.select(FeedbackRow.sequence, FeedbackRow.received_at).where(
                    FeedbackRow.user_id == self.user, FeedbackRow.sequence > user.trained_sequence
                )
            )
            received = [at for sequence, at in events if sequence not in excluded]
        return len(received), min(received, default=None)


@pytest.fixture
def deployment(database: Database, database_url: str, tmp_path: Path) -> Deployment:
    return Deployment(database, Settings(home=tmp_path / "home", database_url=database_url), num_images=64)


@pytest.mark.slow
def test_counters_are_what_counting_gives_after_any_acts(deployment: Deployment) -> None:
    number = iter(range(10_000))

    @settings(max_examples=12, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(acts=st.lists(ACTS, min_size=4, max_size=12))
    def check(acts: list[tuple[str, object]]) -> None:
        person = Person(deployment, f"anna{next(number)}")
        for act, value in acts:
            person.act(act, value)
            assert person.counters() == person.counted(), (act, value)

    check()


def test_events_that_a_rollback_excludes_are_not_pending_until_they_are_released(deployment: Deployment) -> None:
    person = Person(deployment, "bea")
    deployment.rate(person.user, range(60))
    deployment.work()
    assert deployment.active(person.user) is not None
    deployment.rate(person.user, range(60, 63))
    person.act("rollback", "exclude")
    assert person.counters() == (0, None)
    person.act("release", None)
    assert person.counters() == person.counted()
    assert person.counters()[0] == 63
