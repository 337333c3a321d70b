"""Status of the deployment: every number, computed by hand for a few rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import AdapterHistoryRow, DeliveryRow
from paaplus.db.tables.events import EventKind
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.db.types import utcnow
from paaplus.ids import first_id_of, new_id
from paaplus.services import events
from paaplus.services.operations import status
from paaplus.services.operations.status import CRASHED, SILENT, Status
from paaplus.services.users.keys import OPERATOR
from paaplus.services.webhooks import webhooks
from paaplus.settings import Settings
from tests.support.factories import APPLICATION, make_adapter, make_base_model, make_job, make_user

HOUR = timedelta(hours=1)


def read(database: Database, settings: Settings) -> Status:
    with database.read_session() as session:
        return status.read(session, settings)


def test_nothing_is_wrong_with_an_empty_deployment(database: Database, settings: Settings) -> None:
    now = read(database, settings)
    assert (now.num_due_users, now.oldest_due_s, now.oldest_ready_s) == (0, 0.0, {"cpu": 0.0, "gpu": 0.0})
    assert (now.num_expired_leases, now.num_failures, now.num_stale_adapters, now.num_untrained_feedback) == (
        0,
        {},
        0,
        0,
    )
    assert now.num_gate_outcomes == {PointerMove.GATE_PROMOTED: 0, PointerMove.GATE_REFUSED: 0}


def test_ages_are_those_of_what_waits_longest(database: Database, settings: Settings) -> None:
    now = utcnow()
    with database.session() as session:
        for due_at in (now - HOUR, now - 2 * HOUR, now + HOUR, None):
            make_user(session, next_due_at=due_at)
        make_job(session, run_after=now - HOUR, queue="gpu")
        make_job(session, run_after=now - 3 * HOUR, queue="gpu")
        make_job(session, run_after=now + HOUR)
        make_job(session, run_after=now - 9 * HOUR, state=JobState.SUCCEEDED)
        make_job(session, state=JobState.RUNNING, lease_expires_at=now - HOUR)
        make_job(session, state=JobState.RUNNING, lease_expires_at=now + HOUR)
    found = read(database, settings)
    assert found.num_due_users == 2
    assert found.oldest_due_s == pytest.approx(7200, abs=60)
    assert found.oldest_ready_s == {"cpu": 0.0, "gpu": pytest.approx(10_800, abs=60)}
    assert found.num_expired_leases == 1


def test_failures_are_counted_by_what_their_message_begins_with(database: Database, settings: Settings) -> None:
    now = utcnow()
    dead = {"state": JobState.DEAD, "attempts": 5, "finished_at": now - HOUR}
    with database.session() as session:
        make_job(session, last_error="conflict: extractor lite has digest conflict: x", **dead)
        make_job(session, last_error="invalid_input: 100% wrong_", **dead)
        make_job(session, last_error="worker host:1 went silent in attempt 5", **dead)
        make_job(session, last_error='  File "x.py", line 1\nZeroDivisionError', **dead)
        make_job(session, last_error="conflict: long ago", **dead | {"finished_at": now - 25 * HOUR})
        make_job(session, kind=JobKind.EXTRACT_FEATURES, last_error="unavailable: storage", attempts=2)
        make_job(session, kind=JobKind.EXTRACT_FEATURES, last_error="unavailable: storage", attempts=1)
        make_job(session, last_error="features are missing", attempts=0)
        make_job(session, state=JobState.SUCCEEDED, attempts=2)
    assert read(database, settings).num_failures == {
        (JobKind.ADAPT, JobState.DEAD, "conflict"): 1,
        (JobKind.ADAPT, JobState.DEAD, "invalid_input"): 1,
        (JobKind.ADAPT, JobState.DEAD, SILENT): 1,
        (JobKind.ADAPT, JobState.DEAD, CRASHED): 1,
        (JobKind.EXTRACT_FEATURES, JobState.QUEUED, "unavailable"): 2,
    }


def test_gate_versions_and_logs_are_counted(database: Database, settings: Settings) -> None:
    with database.session() as session:
        old, new = make_base_model(session), make_base_model(session)
        for base in (old, old, new):
            user = make_user(session, feedback_sequence=10, trained_sequence=7)
            make_adapter(session, user, base_model_id=old.id, state=AdapterState.RETIRED)
            make_adapter(session, user, base_model_id=base.id)
        for move, age in (
            (PointerMove.GATE_PROMOTED, HOUR),
            (PointerMove.GATE_REFUSED, HOUR),
            (PointerMove.GATE_REFUSED, 23 * HOUR),
            (PointerMove.GATE_REFUSED, 25 * HOUR),
            (PointerMove.ROLLED_BACK, HOUR),
        ):
            at = utcnow() - age
            row_id = first_id_of(at)
            session.add(
                AdapterHistoryRow(
                    id=row_id, user_id=user.id, move=move, actor="gate", reason="x", details={}, created_at=at
                )
            ) if session.get(AdapterHistoryRow, row_id) is None else None
            session.flush()
    found = read(database, settings)
    assert found.num_stale_adapters == 2
    assert found.num_untrained_feedback == 9
    assert found.num_gate_outcomes == {PointerMove.GATE_PROMOTED: 1, PointerMove.GATE_REFUSED: 2}
    chosen = settings.model_copy(update={"default_base_model": f"{old.name}@1"})
    assert read(database, chosen).num_stale_adapters == 1


def test_ids_of_a_moment_are_not_below_its_first() -> None:
    before = utcnow()
    made = new_id()
    after = utcnow() + timedelta(milliseconds=1)
    assert first_id_of(before) <= made < first_id_of(after)
    assert first_id_of(datetime(1970, 1, 1, tzinfo=UTC)).int == 0


def test_deliveries_are_counted_by_what_became_of_them(database: Database, settings: Settings) -> None:
    now = utcnow()
    with database.session() as session:
        user_id = make_user(session).id
        hooks = [
            webhooks.create(
                session,
                application=APPLICATION,
                url=f"https://app.example/{number}",
                kinds=None,
                actor="test",
                settings=settings,
            ).id
            for number in range(2)
        ]
        for _ in range(4):
            events.write(session, EventKind.ADAPTER_PROMOTED, user_id, {})
        of_first = sa.select(DeliveryRow.id).where(DeliveryRow.webhook_id == hooks[0]).order_by(DeliveryRow.id)
        sent, failed, old, _ = session.execute(of_first).scalars()
        for delivery_id, values in (
            (sent, {"next_at": None, "delivered_at": now}),
            (failed, {"next_at": None, "last_error": "answered 500"}),
            (old, {"next_at": None, "delivered_at": now, "id": first_id_of(now - 48 * HOUR)}),
        ):
            session.execute(sa.update(DeliveryRow).where(DeliveryRow.id == delivery_id).values(**values))
        webhooks.disable(session, OPERATOR, hooks[1], actor="test")
    found = read(database, settings)
    assert found.num_deliveries == {"sent": 1, "failed": 1, "waiting": 1, "disabled": 4}
    assert found.num_disabled_webhooks == 1
