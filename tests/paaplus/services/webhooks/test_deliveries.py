"""Deliveries: at least once, signed, tried again with growing pauses, and never for an event that was not committed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from paaplus import signatures
from paaplus.db.engine import Database
from paaplus.db.tables import DeliveryRow, EventRow, WebhookRow
from paaplus.db.tables.events import EventKind
from paaplus.db.types import utcnow
from paaplus.errors import Conflict, NotFound, Unavailable
from paaplus.services import events
from paaplus.services.users.keys import OPERATOR
from paaplus.services.webhooks import deliveries, webhooks
from paaplus.settings import Settings
from tests.support.factories import APPLICATION, make_user
from tests.support.receivers import Receiver, receiving


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"webhook_allow_private": True, "webhook_max_failures": 3, "webhook_max_attempts": 5}
    )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


class Scene:
    """One user, and webhooks at one receiver."""

    def __init__(self, database: Database, settings: Settings, receiver: Receiver) -> None:
        self.database, self.settings, self.receiver = database, settings, receiver
        with database.session() as session:
            self.user_id = make_user(session, external_id="ada").id

    def webhook(self, application: str | None = APPLICATION, kinds: list[EventKind] | None = None) -> WebhookRow:
        with self.database.session() as session:
            return webhooks.create(
                session,
                application=application,
                url=self.receiver.url,
                kinds=kinds,
                actor="test",
                settings=self.settings,
            )

    def happen(self, kind: EventKind = EventKind.ADAPTER_PROMOTED, user_id: UUID | None = None) -> None:
        with self.database.session() as session:
            events.write(session, kind, user_id or self.user_id, {"to_number": 1})

    def deliver(self) -> int:
        """As if every pause were over."""
        with self.database.session() as session:
            session.execute(sa.update(DeliveryRow).where(DeliveryRow.next_at.is_not(None)).values(next_at=utcnow()))
        return deliveries.deliver_due(self.database, self.settings)

    def rows(self) -> list[DeliveryRow]:
        with self.database.read_session() as session:
            return list(session.execute(sa.select(DeliveryRow).order_by(DeliveryRow.id)).scalars())

    def hook(self, webhook_id: UUID) -> WebhookRow:
        with self.database.read_session() as session:
            return session.get_one(WebhookRow, webhook_id)


@pytest.fixture
def scene(database: Database, settings: Settings, receiver: Receiver) -> Scene:
    return Scene(database, settings, receiver)


def test_event_is_told_once_signed_and_complete(scene: Scene) -> None:
    hook = scene.webhook()
    scene.happen()
    assert (scene.deliver(), scene.deliver()) == (1, 0)
    [(headers, body)] = scene.receiver.received
    signatures.verify(hook.secret, headers[signatures.HEADER], body)
    told = json.loads(body)
    with scene.database.read_session() as session:
        event = session.execute(sa.select(EventRow)).scalar_one()
    assert told == {
        "id": str(event.id),
        "type": "adapter.promoted",
        "created_at": event.created_at.isoformat(),
        "application": APPLICATION,
        "user": {"id": str(scene.user_id), "external_id": "ada"},
        "data": {"to_number": 1},
    }
    assert headers["Paaplus-Event-Id"] == told["id"]
    [row] = scene.rows()
    assert (row.attempts, row.next_at) == (1, None)
    assert row.delivered_at is not None


def test_webhook_is_told_of_its_kinds_and_its_application_only(scene: Scene) -> None:
    scene.webhook(kinds=[EventKind.ADAPTER_REFUSED])
    scene.webhook(application="other-app")
    scene.happen()
    assert scene.deliver() == 0
    scene.webhook(application=None)  # of an admin: all applications, and events of none
    scene.happen(EventKind.ADAPTER_REFUSED)
    with scene.database.session() as session:
        events.write(session, EventKind.JOB_FAILED, None, {})
    assert scene.deliver() == 3
    told = [json.loads(body) for _, body in scene.receiver.received]
    assert sorted(one["type"] for one in told) == ["adapter.refused", "adapter.refused", "job.failed"]


def test_what_is_rolled_back_is_not_told(scene: Scene) -> None:
    scene.webhook()
    with scene.database.session() as session:
        events.write(session, EventKind.ADAPTER_PROMOTED, scene.user_id, {})
        session.rollback()
    assert (scene.rows(), scene.deliver()) == ([], 0)


def test_failure_is_tried_again_with_growing_pauses_and_given_up(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"webhook_max_failures": 100})
    hook = scene.webhook()
    scene.happen()
    scene.receiver.statuses = [500] * 5
    pauses = []
    for _ in range(4):
        assert scene.deliver() == 0
        [row] = scene.rows()
        assert row.next_at is not None
        pauses.append((row.next_at - utcnow()).total_seconds())
        assert deliveries.deliver_due(scene.database, scene.settings) == 0, "not before its time"
    assert pauses == sorted(pauses)
    assert 1 < pauses[0] < 6
    assert 19 < pauses[3] < 41
    assert scene.deliver() == 0
    [row] = scene.rows()
    assert (row.attempts, row.next_at, row.delivered_at) == (5, None, None)
    assert "500" in str(row.last_error)
    assert (scene.deliver(), scene.hook(hook.id).failures) == (0, 5)
    scene.happen()
    assert (scene.deliver(), scene.hook(hook.id).failures) == (1, 0)


def test_webhook_that_fails_for_long_is_disabled_until_it_is_enabled(scene: Scene) -> None:
    hook = scene.webhook()
    scene.happen()
    scene.receiver.statuses = [500] * 3
    for _ in range(3):
        scene.deliver()
    assert scene.hook(hook.id).disabled_at is not None
    scene.happen()  # told to nobody
    assert (scene.deliver(), len(scene.receiver.received)) == (0, 3)
    with scene.database.session() as session:
        webhooks.enable(session, OPERATOR, hook.id, actor="test")
    assert deliveries.deliver_due(scene.database, scene.settings) == 1
    assert len(scene.rows()) == 1


def test_delivery_of_a_killed_process_is_delivered_again_later(scene: Scene) -> None:
    scene.webhook()
    scene.happen()

    def killed(*_: Any, **__: Any) -> None:
        raise SystemExit("killed after the request was sent")

    with pytest.raises(SystemExit):
        deliveries.deliver_due(scene.database, scene.settings, post=killed)
    assert deliveries.deliver_due(scene.database, scene.settings) == 0, "the claim still holds"
    assert scene.deliver() == 1
    assert scene.rows()[0].attempts == 2


def test_late_failure_does_not_undo_what_another_process_delivered(scene: Scene) -> None:
    scene.webhook()
    scene.happen()

    def slow(*_: Any, **__: Any) -> None:
        assert scene.deliver() == 1  # by another process, after the claim ran out
        raise Unavailable("too slow")

    assert deliveries.deliver_due(scene.database, scene.settings, post=slow) == 0
    [row] = scene.rows()
    assert row.delivered_at is not None


def test_erased_user_and_deleted_webhook_leave_nothing_to_tell(scene: Scene) -> None:
    hook = scene.webhook()
    scene.happen()
    with scene.database.session() as session:
        webhooks.delete(session, OPERATOR, hook.id, actor="test")
        with pytest.raises(NotFound):
            webhooks.delete(session, OPERATOR, hook.id, actor="test")
    assert (scene.rows(), scene.deliver()) == ([], 0)
    with scene.database.read_session() as session:
        assert [row.kind for row in events.after(session, scene.user_id, events.NONE, 10)] == ["adapter.promoted"]


def test_events_of_a_user_stay_in_order_when_a_clock_is_set_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.happen()
    monkeypatch.setattr(events, "new_id", lambda: UUID(int=5))
    scene.happen(EventKind.DRIFT_FOUND)
    with scene.database.read_session() as session:
        found = events.after(session, scene.user_id, events.NONE, 10)
        assert [row.kind for row in found] == ["adapter.promoted", "drift.found"]
        assert events.without_newer(session, {(scene.user_id, found[0].id), (scene.user_id, found[1].id)}) == {
            (scene.user_id, found[1].id)
        }


def test_number_of_webhooks_is_bounded(scene: Scene) -> None:
    scene.settings = scene.settings.model_copy(update={"webhooks_per_application": 2})
    kinds = list(EventKind)
    scene.webhook(kinds=kinds[:1])
    scene.webhook(kinds=kinds[1:2])
    with pytest.raises(Conflict, match="2 webhooks"):
        scene.webhook(kinds=kinds[2:3])
    scene.webhook(application="other-app", kinds=kinds[:1])
