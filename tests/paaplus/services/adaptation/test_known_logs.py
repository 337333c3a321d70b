"""Logs of which only newer events are read, beside the whole logs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import FeedbackRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.pipelines.context import WorkerContext
from paaplus.services.adaptation.known_logs import KnownLogs
from paaplus.services.adaptation.snapshot import read_snapshot
from paaplus.services.feedback import exclusions, feedback_log
from paaplus.services.feedback.feedback_log import FeedbackLog
from paaplus.services.feedback.intake import NewEvent
from paaplus.services.images import deletions
from paaplus.services.users.keys import OPERATOR
from paaplus.settings import Settings
from tests.support.deployment import Deployment

KEY = "key"


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings, num_images=30)


def both(deployment: Deployment, known: KnownLogs, *user_ids: UUID) -> list[tuple[FeedbackLog, FeedbackLog]]:
    """By user, the log as it is read with what is known, and as it is read anew."""
    with deployment.database.read_session() as session:
        users = [session.get_one(UserRow, user_id) for user_id in user_ids]
        found, expected = known.read_many(session, users, KEY), feedback_log.read_many(session, users, KEY)
    return [(found[user_id], expected[user_id]) for user_id in user_ids]


def as_lists(log: FeedbackLog) -> FeedbackLog:
    return replace(log, exclusions=sorted(log.exclusions, key=lambda span: (span.first, span.since_epoch)))


def act(deployment: Deployment, rng: np.random.Generator, user_id: UUID, turn: int) -> None:
    """Something that happens to a log."""
    image, other = (deployment.images[i] for i in rng.choice(30, 2, replace=False))
    name = f"e{turn}"
    match int(rng.integers(6)):
        case 0 | 1:
            deployment.rate(user_id, rng.choice(30, int(rng.integers(1, 6)), replace=False).tolist(), prefix=name)
        case 2:
            payload = {"preference": {"beauty": str(rng.choice(["first", "second", "tie"]))}}
            deployment.post(
                NewEvent(0, user_id, name, FeedbackKind.COMPARISON, payload, image_id=image, other_image_id=other)
            )
        case 3:
            deployment.post(NewEvent(0, user_id, name, FeedbackKind.BINARY, {"liked": bool(turn % 2)}, image_id=image))
        case 4:
            with deployment.database.read_session() as session:
                events = session.execute(
                    sa.select(FeedbackRow.event_id).where(
                        FeedbackRow.user_id == user_id, FeedbackRow.kind != FeedbackKind.RETRACTION
                    )
                ).scalars()
                chosen = rng.choice(sorted(events))
            deployment.retract(user_id, str(chosen))
        case 5:
            with deployment.database.session() as session:
                user = session.get_one(UserRow, user_id)
                sequence = int(rng.integers(1, user.feedback_sequence + 1))
                if rng.integers(2):
                    exclusions.exclude(session, user, {sequence}, actor="gate", reason="test")
                else:
                    exclusions.close(session, user, {sequence}, actor="gate")
                user.epoch += 1


@pytest.mark.parametrize("seed", range(3))
def test_logs_are_those_that_are_read_anew_whatever_has_happened(deployment: Deployment, seed: int) -> None:
    rng, known = np.random.default_rng(seed), KnownLogs()
    users = [deployment.add_user(name) for name in ("ann", "ben")]
    for user in users:
        deployment.rate(user, range(8), prefix="first")
    for turn in range(25):
        act(deployment, rng, users[int(rng.integers(2))], turn)
        if rng.integers(3):
            for found, expected in both(deployment, known, *users):
                assert as_lists(found) == as_lists(expected)


def test_only_newer_events_are_read(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    known, user = KnownLogs(), deployment.add_user()
    read: list[int] = []
    event_rows = feedback_log.event_rows

    def counted(*given: object) -> object:
        rows_of = event_rows(*given)  # type: ignore[arg-type]
        read.append(sum(map(len, rows_of.values())))
        return rows_of

    monkeypatch.setattr(feedback_log, "event_rows", counted)
    for num_images in (20, 25):
        deployment.rate(user, range(num_images - 20, num_images), prefix=f"{num_images}-")
        with deployment.database.read_session() as session:
            log = known.read_many(session, [session.get_one(UserRow, user)], KEY)[user]
    assert (log.head, len(log.events)) == (40, 40)
    assert read == [20, 21], "the last known event is compared"


def test_log_of_a_restored_backup_is_read_anew(deployment: Deployment) -> None:
    known, user = KnownLogs(), deployment.add_user()
    deployment.rate(user, range(10))
    [(before, _)] = both(deployment, known, user)
    with deployment.database.session() as session:  # as after a backup that has another tenth event
        newest = sa.select(FeedbackRow).where(FeedbackRow.user_id == user, FeedbackRow.sequence == 10)
        row = session.execute(newest).scalar_one()
        values = {c.key: getattr(row, c.key) for c in sa.inspect(FeedbackRow).column_attrs}
        values["received_at"] += timedelta(microseconds=1)
        session.delete(row)
        session.flush()
        session.add(FeedbackRow(**{**values, "image_id": deployment.images[20]}))
    [(found, expected)] = both(deployment, known, user)
    assert found == expected != before
    assert found.events[-1].image_id == deployment.images[20]


def test_nothing_waits_for_features_of_an_image_that_was_deleted_since(deployment: Deployment) -> None:
    user, context = deployment.add_user(), deployment.context
    deployment.rate(user, range(20))
    deployment.work()
    with deployment.database.session() as session:
        deletions.delete(session, deployment.blobs, OPERATOR, deployment.images[3], with_feedback=True, actor="test")
    logs, other = context.logs, WorkerContext(deployment.database, deployment.blobs, deployment.settings, worker="new")
    snapshot = read_snapshot(  # by a process that does not have the image in memory
        deployment.database, deployment.blobs, user, deployment.settings, other.projections, logs
    )
    alone = read_snapshot(deployment.database, deployment.blobs, user, deployment.settings)
    assert (snapshot.num_missing_features, snapshot.log) == (0, alone.log)
    assert deployment.images[3] not in snapshot.images
