"""Webhooks of applications: create, list, enable, delete. Nothing is resolved and nothing is sent here."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.clock import db_now
from paaplus.db.locks import lock_name
from paaplus.db.tables import DeliveryRow, WebhookRow
from paaplus.db.tables.events import EventKind
from paaplus.db.types import utcnow
from paaplus.errors import Conflict, NotFound
from paaplus.ids import new_id
from paaplus.services import audit
from paaplus.services.users.keys import Principal
from paaplus.services.webhooks import addresses
from paaplus.settings import Settings

SECRET_PREFIX: Final = "whsec_"


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
        InvalidInput: a webhook may not have this URL.
        Conflict: the application has too many webhooks.
    """
    addresses.target_of(url, allow_private=settings.webhook_allow_private)
    lock_name(session, f"webhooks:{application or ''}")
    same = WebhookRow.application.is_not_distinct_from(application)
    num_webhooks = session.execute(sa.select(sa.func.count()).select_from(WebhookRow).where(same)).scalar_one()
    if num_webhooks >= settings.webhooks_per_application:
        raise Conflict(f"there are {num_webhooks} webhooks, the most that are allowed: delete one first")
    row = WebhookRow(
        id=new_id(),
        application=application,
        url=url,
        secret=SECRET_PREFIX + secrets.token_urlsafe(32),
        kinds=[kind.value for kind in EventKind if kinds is None or kind in kinds],
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
    row = _get(session, principal, webhook_id)
    row.disabled_at, row.failures = None, 0
    session.execute(
        sa.update(DeliveryRow)
        .where(DeliveryRow.webhook_id == row.id, DeliveryRow.next_at.is_not(None))
        .values(next_at=db_now(session))
    )
    audit.record(session, actor=actor, action="webhook_enabled", subject_id=row.id)
    session.flush()
    return row


def delete(session: Session, principal: Principal, webhook_id: UUID, *, actor: str) -> None:
    """Delete a webhook. What was not delivered is dropped.

    Raises:
        NotFound: no such webhook for this principal.
    """
    row = _get(session, principal, webhook_id)
    session.execute(sa.delete(WebhookRow).where(WebhookRow.id == row.id))
    audit.record(session, actor=actor, action="webhook_deleted", subject_id=webhook_id)


def _get(session: Session, principal: Principal, webhook_id: UUID) -> WebhookRow:
    row = session.execute(
        sa.select(WebhookRow).where(WebhookRow.id == webhook_id, _visible(principal)).with_for_update(key_share=True)
    ).scalar_one_or_none()
    if row is None:
        raise NotFound(f"webhook {webhook_id} does not exist")
    return row


def _visible(principal: Principal) -> sa.ColumnElement[bool]:
    """SQL condition: an application's own webhooks; for an admin all."""
    return sa.true() if principal.application is None else WebhookRow.application == principal.application
