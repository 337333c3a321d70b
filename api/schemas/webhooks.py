"""Webhooks: addresses that are told of events."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from paaplus.api.schemas.common import In, Out
from paaplus.api.schemas.users import Application
from paaplus.db.tables.events import EventKind
from paaplus.services.webhooks.addresses import MAX_URL
from paaplus.services.webhooks.webhooks import DeliveryState


class WebhookIn(In):
    url: Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL)] = Field(
        description="Where events are posted: https, and a public address.", examples=["https://app.example/paaplus"]
    )
    kinds: list[EventKind] | None = Field(
        None, min_length=1, max_length=64, description="Which events; omitted: all.", examples=[["adapter.promoted"]]
    )
    application: Application | None = Field(
        None, description="With an admin key: whose events; omitted: those of all applications."
    )


class WebhookOut(Out):
    """`failures`: failed tries since the last success. `disabled_at`: there were too many; nothing is sent."""

    id: UUID
    url: str
    kinds: list[EventKind]
    application: str | None
    failures: int
    last_error: str | None
    disabled_at: datetime | None
    created_at: datetime


class DeliveryOut(Out):
    """One event for one webhook. `state`: `failed` was given up. `last_error`: why the last try failed.

    `attempts` counts tries. `next_at`: when the next one is due; null: there is none.
    """

    id: UUID
    event_id: UUID
    kind: EventKind
    state: DeliveryState
    attempts: int
    created_at: datetime
    next_at: datetime | None
    delivered_at: datetime | None
    last_error: str | None


class NewWebhookOut(WebhookOut):
    """`secret` checks signatures; this answer is the only one that shows it."""

    secret: str
