"""Webhooks of applications: create, list, enable, disable, delete. Nothing is resolved and nothing is sent here."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.clock import db_now
from paaplus.db.locks import lock_name
from paaplus.db.tables import DeliveryRow, EventRow, WebhookRow
from paaplus.db.tables.events import EventKind
from paaplus.db.types import utcnow
from paaplus.errors import Conflict, InvalidInput, NotFound
from paaplus.ids import new_id
from paaplus.services import audit
from paaplus.services.names import check_application
from paaplus.services.users.keys import Principal
from paaplus.services.webhooks import addresses
from paaplus.settings import Settings

SECRET_PREFIX: Final = "whsec_"

DeliveryState = Literal["waiting", "sent", "failed"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one webhook. `state`: `failed` was given up after the last try. `last_error`: of the last try."""

    id: UUID
    event_id: UUID
    kind: EventKind
    state: DeliveryState
    attempts: int
    created_at: datetime
    next_at: datetime | None
    delivered_at: datetime | None
    last_error: str | None


def create(
    session: Session,
    *,
    application: str | None,
    url: str,
    kinds: Collection[EventKind] | None,
    actor: str,
    settings: Settings,
) -> WebhookRow:
    """Create a webhook. It is told of events from now on.

    Args:
        application: whose events; None: those of all, and of no application.
        url: where they are posted.
        kinds: of events; None: all.

    Raises:
        InvalidInput: a webhook may not have this URL, the application has no valid name, or a kind is named twice.
        Conflict: the application has such a webhook already, or too many.
    """
    if application is not None:
        check_application(application)
    if kinds is not None and len(set(kinds)) < len(kinds):
        raise InvalidInput(f"kinds {', '.join(kind.value for kind in kinds)}: none twice")
    addresses.target_of(url, allow_private=settings.webhook_allow_private)
    lock_name(session, f"webhooks:{application or ''}")
    same = WebhookRow.application.is_not_distinct_from(application)
    num_webhooks = session.execute(sa.select(sa.func.count()).select_from(WebhookRow).where(same)).scalar_one()
    if num_webhooks >= settings.webhooks_per_application:
        raise Conflict(f"there are {num_webhooks} webhooks, the most that are allowed: delete one first")
    told = [kind.value for kind in EventKind if kinds is None or kind in kinds]
    for known in session.execute(sa.select(WebhookRow).where(same, WebhookRow.url == url)).scalars():
        if known.kinds == told:
            raise Conflict(f"webhook {known.id} tells this URL of the same events already")
    row = WebhookRow(
        id=new_id(),
        application=application,
        url=url,
        secret=SECRET_PREFIX + secrets.token_urlsafe(32),
        kinds=told,
        failures=0,
        created_at=utcnow(),
    )
    session.add(row)
    audit.record(session, actor=actor, action="webhook_created", subject_id=row.id)
    session.flush()
    return row


def list_webhooks(
    session: Session, principal: Principal, *, limit: int = 100, before: UUID | None = None
) -> list[WebhookRow]:
    """Webhooks that this principal may see, newest first."""
    query = sa.select(WebhookRow).where(_visible(principal)).order_by(WebhookRow.id.desc()).limit(limit)
    if before is not None:
        query = query.where(WebhookRow.id < before)
    return list(session.execute(query).scalars())


def enable(session: Session, principal: Principal, webhook_id: UUID, *, actor: str) -> WebhookRow:
    """Enable a disabled webhook. What waits for it is delivered now; what happened meanwhile is not.

    Raises:
        NotFound: no such webhook for this principal.
    """
    row = get(session, principal, webhook_id, lock=True)
    row.disabled_at, row.failures = None, 0
    session.execute(
        sa.update(DeliveryRow)
        .where(DeliveryRow.webhook_id == row.id, DeliveryRow.next_at.is_not(None))
        .values(next_at=db_now(session))
    )
    audit.record(session, actor=actor, action="webhook_enabled", subject_id=row.id)
    session.flush()
    return row


def disable(session: Session, principal: Principal, webhook_id: UUID, *, actor: str) -> WebhookRow:
    """Disable a webhook: nothing is sent, and what happens meanwhile is not told. Repeating it changes nothing.

    Raises:
        NotFound: no such webhook for this principal.
    """
    row = get(session, principal, webhook_id, lock=True)
    if row.disabled_at is None:
        row.disabled_at = db_now(session)
        audit.record(session, actor=actor, action="webhook_disabled", subject_id=row.id)
        session.flush()
    return row


def list_deliveries(
    session: Session, principal: Principal, webhook_id: UUID, *, limit: int = 100, before: UUID | None = None
) -> list[Delivery]:
    """What was, or is to be, posted to a webhook, newest first; as long as events are kept.

    Raises:
        NotFound: no such webhook for this principal.
    """
    get(session, principal, webhook_id)
    query = (
        sa.select(DeliveryRow, EventRow.kind, EventRow.created_at)
        .join(EventRow, EventRow.id == DeliveryRow.event_id)
        .where(DeliveryRow.webhook_id == webhook_id)
        .order_by(DeliveryRow.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(DeliveryRow.id < before)
    return [
        Delivery(
            id=row.id,
            event_id=row.event_id,
            kind=kind,
            state="sent" if row.delivered_at is not None else "failed" if row.next_at is None else "waiting",
            attempts=row.attempts,
            created_at=created_at,
            next_at=row.next_at,
            delivered_at=row.delivered_at,
            last_error=row.last_error,
        )
        for row, kind, created_at in session.execute(query)
    ]


def delete(session: Session, principal: Principal, webhook_id: UUID, *, actor: str) -> None:
    """Delete a webhook. What was not delivered is dropped.

    Raises:
        NotFound: no such webhook for this principal.
    """
    row = get(session, principal, webhook_id, lock=True)
    session.execute(sa.delete(WebhookRow).where(WebhookRow.id == row.id))
    audit.record(session, actor=actor, action="webhook_deleted", subject_id=webhook_id)


def get(session: Session, principal: Principal, webhook_id: UUID, *, lock: bool = False) -> WebhookRow:
    """One webhook. `lock`: until the transaction ends, so that nobody else changes it.

    Raises:
        NotFound: no such webhook for this principal.
    """
    query = sa.select(WebhookRow).where(WebhookRow.id == webhook_id, _visible(principal))
    row = session.execute(query.with_for_update(key_share=True) if lock else query).scalar_one_or_none()
    if row is None:
        raise NotFound(f"webhook {webhook_id} does not exist")
    return row


def _visible(principal: Principal) -> sa.ColumnElement[bool]:
    """SQL condition: an application's own webhooks; for an admin all."""
    return sa.true() if principal.application is None else WebhookRow.application == principal.application
