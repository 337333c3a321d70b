"""Retention: what is too old is deleted, and what somebody still needs is kept."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import (
    DeliveryRow,
    EventRow,
    FeedbackRow,
    JobRow,
    PredictionReceiptRow,
    ServingChangeRow,
    UserRow,
    WebhookRow,
)
from paaplus.db.tables.events import EventKind
from paaplus.db.tables.jobs import JobState
from paaplus.db.types import utcnow
from paaplus.ids import first_id_of, new_id
from paaplus.services import events
from paaplus.services.operations import retention
from paaplus.services.operations.retention import RetentionReport
from paaplus.services.predictions import serving_changes
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from tests.support.factories import make_base_model, make_feedback, make_image, make_job, make_receipt, make_user


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path.as_uri())


def old_id(days: int, number: int) -> UUID:
    return UUID(int=first_id_of(utcnow() - timedelta(days=days)).int + number)


def test_old_receipts_and_finished_jobs_go_and_what_is_needed_stays(
    database: Database, settings: Settings, blobs: BlobStore, monkeypatch
) -> None:
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 2)
    with database.session() as session:
        user, image, base = make_user(session), make_image(session), make_base_model(session)
        columns = {"user_id": user.id, "image_id": image.id, "base_model_id": base.id}
        old = [make_receipt(session, id=old_id(40, n), **columns).id for n in range(5)]
        named = make_receipt(session, id=old_id(40, 9), **columns).id
        new = make_receipt(session, **columns).id
        correction = make_feedback(session, user, image_id=image.id, receipt_id=named).id
        for number, state in enumerate(JobState):
            make_job(session, id=old_id(40, number), user_id=user.id, state=state, lock_key=f"old{number}")
    kept = settings.model_copy(update={"keep_receipts_days": 30, "keep_jobs_days": 30, "keep_events_days": 30})
    with database.session() as session:
        hook = WebhookRow(
            id=new_id(), url="https://x", secret="s", kinds=["job.failed"], failures=0, created_at=utcnow()
        )
        session.add(hook)
        session.flush()
        events.write(session, EventKind.JOB_FAILED, None, {})
        session.add(EventRow(id=old_id(40, 0), application="", kind=EventKind.JOB_FAILED, data={}, created_at=utcnow()))

    assert retention.apply(database, blobs, kept) == RetentionReport(
        num_receipts=len(old), num_jobs=3, num_events=1, num_uploads=0
    )
    assert retention.apply(database, blobs, kept) == RetentionReport(0, 0, 0, 0)
    with database.read_session() as session:
        assert set(session.execute(sa.select(PredictionReceiptRow.id)).scalars()) == {named, new}
        assert session.get(FeedbackRow, correction).receipt_id == named
        left = set(session.execute(sa.select(JobRow.state)).scalars())
        assert len(session.execute(sa.select(DeliveryRow.id)).all()) == 1, "a new event is still to be told"
    assert left == {JobState.QUEUED, JobState.RUNNING}


def test_only_the_newest_changes_of_what_is_served_stay(
    database: Database, settings: Settings, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_changes, "KEPT", 3)
    with database.session() as session:
        users = [make_user(session).id for _ in range(8)]
    for user_id in users:
        with database.session() as session:
            session.execute(sa.delete(UserRow).where(UserRow.id == user_id))
    assert retention.apply(database, blobs, settings).num_serving_changes == 5
    assert retention.apply(database, blobs, settings).num_serving_changes == 0
    with database.read_session() as session:
        assert set(session.execute(sa.select(ServingChangeRow.user_id)).scalars()) == set(users[-3:])


def test_nothing_goes_where_everything_is_kept(database: Database, settings: Settings, blobs: BlobStore) -> None:
    with database.session() as session:
        make_job(session, id=old_id(4_000, 0), user_id=make_user(session).id, state=JobState.SUCCEEDED)
    kept = settings.model_copy(update={"keep_receipts_days": 0, "keep_jobs_days": 0, "keep_events_days": 0})
    assert retention.apply(database, blobs, kept) == RetentionReport(0, 0, 0, 0)
