"""Deliveries: post what is due, at least once, with back-off after a failure, and disable what fails for long.

A delivery is claimed for some time before it is posted. If the process is killed, it is due again after that time: the
receiver recognizes a repeated event by its id.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from paaplus import signatures
from paaplus.db.clock import db_now
from paaplus.db.engine import Database
from paaplus.db.prepared import Prepared, as_uuid
from paaplus.db.row_sets import driver_value
from paaplus.db.tables import DeliveryRow, EventRow, UserRow, WebhookRow
from paaplus.db.types import utcnow
from paaplus.errors import PaaplusError
from paaplus.ids import new_id
from paaplus.queue.jobs import RetryPolicy
from paaplus.services.webhooks import request
from paaplus.settings import Settings

THREADS: Final = 4  # webhooks that are served at the same time
IN_A_ROW: Final = 20  # deliveries to one webhook before others get its thread
CLAIM_SLACK_S: Final = 30.0  # a claim lasts this much longer than a request may
ERROR_MAX: Final = 500
TEST_TYPE: Final = "webhook.test"  # of a delivery that tells of nothing; no row is of this kind

log = structlog.get_logger(__name__)

Post = Callable[..., None]


@dataclass(frozen=True)
class Claimed:
    """A delivery that this process posts."""

    delivery_id: UUID
    webhook_id: UUID
    attempt: int
    url: str
    secret: str
    event_id: UUID
    body: bytes


def deliver_due(database: Database, settings: Settings, *, post: Post = request.post) -> int:
    """Post everything that is due; returns how many were delivered. Several processes may do it at once.

    A webhook is served by one thread, so that one whose receiver is slow keeps only that thread waiting.
    """
    with database.read_session() as session:
        now, connection = db_now(session), session.connection()
        rows = _DUE.rows(connection, now=driver_value(connection.dialect.name, now))
    due = [as_uuid(webhook_id) for (webhook_id,) in rows]
    if not due:
        return 0
    with ThreadPoolExecutor(min(THREADS, len(due)), thread_name_prefix="webhook") as pool:
        return sum(pool.map(lambda webhook_id: _deliver_to(database, settings, webhook_id, post), due))


_DUE: Final = Prepared(
    lambda _: (
        sa.select(DeliveryRow.webhook_id)
        .join(WebhookRow, WebhookRow.id == DeliveryRow.webhook_id)
        .where(DeliveryRow.next_at <= sa.bindparam("now"), WebhookRow.disabled_at.is_(None))
        .distinct()
    )
)


def send_test(webhook: WebhookRow, settings: Settings, *, post: Post = request.post) -> str | None:
    """Post a signed test to a webhook now, once, also if it is disabled; returns why it failed. Nothing is written."""
    event_id = new_id()
    told = {
        "id": str(event_id),
        "type": TEST_TYPE,
        "created_at": utcnow().isoformat(),
        "application": webhook.application,
        "user": None,
        "data": {"webhook_id": str(webhook.id)},
    }
    body = json.dumps(told, separators=(",", ":"), sort_keys=True).encode()
    return _try(Claimed(event_id, webhook.id, 1, webhook.url, webhook.secret, event_id, body), settings, post)


def _deliver_to(database: Database, settings: Settings, webhook_id: UUID, post: Post) -> int:
    """Post what is due for one webhook, oldest first, until something fails."""
    for num_delivered in range(IN_A_ROW):
        with database.session() as session:
            claimed = _claim(session, webhook_id, settings)
        if claimed is None:
            return num_delivered
        error = _try(claimed, settings, post)
        with database.session() as session:
            _record(session, claimed, error, settings)
        if error is not None:
            return num_delivered
    return IN_A_ROW


def _claim(session: Session, webhook_id: UUID, settings: Settings) -> Claimed | None:
    now = db_now(session)
    found = session.execute(
        sa.select(DeliveryRow, WebhookRow, EventRow)
        .join(WebhookRow, WebhookRow.id == DeliveryRow.webhook_id)
        .join(EventRow, EventRow.id == DeliveryRow.event_id)
        .where(
            DeliveryRow.webhook_id == webhook_id,
            DeliveryRow.next_at <= now,
            WebhookRow.disabled_at.is_(None),
        )
        .order_by(DeliveryRow.next_at, DeliveryRow.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=DeliveryRow)
    ).one_or_none()
    if found is None:
        return None
    delivery, webhook, event = found
    delivery.attempts += 1
    delivery.next_at = now + timedelta(seconds=settings.webhook_timeout_s + CLAIM_SLACK_S)
    body = json.dumps(content(session, event), separators=(",", ":"), sort_keys=True).encode()
    return Claimed(delivery.id, webhook.id, delivery.attempts, webhook.url, webhook.secret, event.id, body)


def content(session: Session, event: EventRow) -> dict[str, Any]:
    """An event as it is told: to webhooks and in streams."""
    user = session.get(UserRow, event.user_id) if event.user_id is not None else None
    return {
        "id": str(event.id),
        "type": event.kind.value,
        "created_at": event.created_at.isoformat(),
        "application": event.application or None,
        "user": {"id": str(user.id), "external_id": user.external_id} if user is not None else None,
        "data": event.data,
    }


def headers_of(claimed: Claimed, at: int) -> Mapping[str, str]:
    """Headers of a delivery at this time, in seconds since 1970."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "paaplus-webhooks/1",
        "Paaplus-Event-Id": str(claimed.event_id),
        signatures.HEADER: signatures.sign(claimed.secret, claimed.body, at),
    }


def _try(claimed: Claimed, settings: Settings, post: Post) -> str | None:
    """Post a delivery; returns why it failed."""
    try:
        post(
            claimed.url,
            claimed.body,
            headers_of(claimed, int(time.time())),
            allow_private=settings.webhook_allow_private,
            timeout_s=settings.webhook_timeout_s,
        )
    except PaaplusError as error:
        return str(error)[:ERROR_MAX]
    return None


def _record(session: Session, claimed: Claimed, error: str | None, settings: Settings) -> None:
    """Write how a try has ended, unless the claim ran out and another process has the delivery."""
    now = db_now(session)
    values: dict[str, Any]
    if error is None:
        values = {"next_at": None, "delivered_at": now, "last_error": None}
    elif claimed.attempt >= settings.webhook_max_attempts:
        values = {"next_at": None, "last_error": error}
    else:
        retry = RetryPolicy(settings.webhook_retry_base_s, settings.webhook_retry_cap_s)
        values = {"next_at": now + retry.delay(claimed.attempt - 1), "last_error": error}
    # The webhook is locked before its delivery, as when it is deleted; and so that new events can still name it.
    lock: Any = {"key_share": True}
    webhook = session.get(WebhookRow, claimed.webhook_id, with_for_update=lock, populate_existing=True)
    if webhook is None:
        return
    session.execute(
        sa.update(DeliveryRow)
        .where(
            DeliveryRow.id == claimed.delivery_id,
            DeliveryRow.attempts == claimed.attempt,
            DeliveryRow.delivered_at.is_(None),
        )
        .values(**values)
    )
    if error is None:
        webhook.failures, webhook.last_error = 0, None
        return
    webhook.failures, webhook.last_error = webhook.failures + 1, error
    if webhook.failures >= settings.webhook_max_failures and webhook.disabled_at is None:
        webhook.disabled_at = now
        log.warning("webhook disabled", webhook_id=str(webhook.id), failures=webhook.failures)
