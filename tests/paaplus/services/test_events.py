"""Which events the platform's own acts write."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import EventRow, JobRow
from paaplus.db.tables.jobs import JobState
from paaplus.db.types import utcnow
from paaplus.services import events, scheduling
from paaplus.services.adapters import rollbacks, versions
from paaplus.settings import Settings
from tests.support.deployment import Deployment
from tests.support.factories import make_job


def told(database: Database, user_id: UUID) -> list[EventRow]:
    with database.read_session() as session:
        return events.after(session, user_id, events.NONE, 100)


def test_training_promotion_refusal_and_rollback_are_told(database: Database, settings: Settings) -> None:
    deployment = Deployment(database, settings)
    user_id = deployment.add_user("anna")
    deployment.rate(user_id, range(40))
    deployment.work()
    promoted, finished = told(database, user_id)
    assert (promoted.kind, promoted.data["from_number"], promoted.data["to_number"]) == ("adapter.promoted", None, 1)
    assert (finished.kind, finished.data["outcome"], finished.data["version"]) == ("training.finished", "promoted", 1)
    assert finished.data["trained_sequence"] == 40
    with database.session() as session:
        versions.pin(session, user_id, 1, actor="test", reason="keep it")  # nothing else is served: no event
        rollbacks.rollback(session, user_id, to="base", actor="test", reason="try")
    [back] = told(database, user_id)[2:]
    assert (back.kind, back.data) == (
        "adapter.rolled_back",
        {"move": "rolled_back", "from_number": 1, "to_number": None, "reason": "try"},
    )


def test_refused_version_is_told(database: Database, settings: Settings) -> None:
    deployment = Deployment(database, settings)
    user_id = deployment.add_user("anna")
    deployment.rate(user_id, range(40))
    deployment.work()
    deployment.rate(user_id, range(40, 80), flip=True, prefix="x")
    deployment.work()
    kinds = [row.kind for row in told(database, user_id)]
    states = [row.state for row in deployment.versions(user_id)]
    assert kinds.count("adapter.refused") == states.count("rejected")
    assert kinds.count("training.finished") == len(deployment.runs(user_id))


def test_job_that_is_given_up_is_told_once(database: Database, settings: Settings) -> None:
    deployment = Deployment(database, settings)
    user_id = deployment.add_user("anna")
    with database.session() as session:
        lost = {"state": JobState.RUNNING, "attempts": 5, "lease_expires_at": utcnow().replace(year=2020)}
        theirs = make_job(session, user_id=user_id, lock_key="adapt:x", **lost).id
        ours = make_job(session, **lost).id
    for _ in range(2):
        scheduling.scan(database, settings)
    with database.read_session() as session:
        rows = session.execute(sa.select(EventRow).order_by(EventRow.id)).scalars().all()
        state = session.get_one(JobRow, ours).state
    assert state == JobState.DEAD
    assert {(row.kind, row.user_id, row.data["job_id"]) for row in rows} == {
        ("job.failed", user_id, str(theirs)),
        ("job.failed", None, str(ours)),
    }
