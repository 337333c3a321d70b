"""Events, the webhooks that are told of them, and the deliveries that this takes."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from paaplus.db.tables.base import Base
from paaplus.db.types import enum_type


class EventKind(StrEnum):
    """What may be told to applications."""

    TRAINING_FINISHED = "training.finished"
    ADAPTER_PROMOTED = "adapter.promoted"
    ADAPTER_REFUSED = "adapter.refused"
    ADAPTER_ROLLED_BACK = "adapter.rolled_back"
    JOB_FAILED = "job.failed"
    DRIFT_FOUND = "drift.found"


class EventRow(Base):
    """Something that happened, written in the transaction in which it happened.

    Ids of one user's events are in the order of their commits. `application` is empty for what belongs to none.
    """

    __tablename__ = "events"
    __table_args__ = (sa.Index("ix_events_user_id", "user_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    application: Mapped[str] = mapped_column(sa.String(64))
    user_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[EventKind] = mapped_column(enum_type(EventKind, "kind"))
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class WebhookRow(Base):
    """An address that is told of an application's events; of all applications' if `application` is NULL.

    `secret` signs the deliveries, so it is stored as it is. `failures` counts failed tries since the last success.
    """

    __tablename__ = "webhooks"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    application: Mapped[str | None] = mapped_column(sa.String(64), index=True)
    url: Mapped[str] = mapped_column(sa.String(2048))
    secret: Mapped[str] = mapped_column(sa.String(64))
    kinds: Mapped[list[str]]
    failures: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None] = mapped_column(sa.String(500))
    disabled_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class DeliveryRow(Base):
    """One event for one webhook. `next_at` is NULL when it was delivered or given up."""

    __tablename__ = "deliveries"
    __table_args__ = (sa.Index("ix_deliveries_due", "webhook_id", "next_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    webhook_id: Mapped[UUID] = mapped_column(sa.ForeignKey("webhooks.id", ondelete="CASCADE"))
    event_id: Mapped[UUID] = mapped_column(sa.ForeignKey("events.id", ondelete="CASCADE"), index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime | None] = mapped_column(index=True)
    delivered_at: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(sa.String(500))
