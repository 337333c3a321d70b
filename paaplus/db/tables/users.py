"""Users: people whose taste is learned."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, column_property, mapped_column

from paaplus.db.tables.base import Base, partial


class DueReason(StrEnum):
    """Why a user is due for training."""

    NEW_FEEDBACK = "new_feedback"
    INTERVAL = "interval"
    BY_HAND = "by_hand"
    TAKEN_BACK = "taken_back"
    NEW_BASE_MODEL = "new_base_model"
    NEW_PRIOR = "new_prior"
    NEW_MATCH = "new_match"
    NEW_PREFERENCE = "new_preference"
    DRIFT = "drift"


class DueRow(Base):
    """When and why a user is due for training; of a user whom nothing makes due there is none.

    Written under the lock of the user's row only, by `paaplus.db.due_times` and by scans. A table of its own: a scan
    deletes thousands of these, and to write as many rows of users costs several times as much. `due_at` is None
    while a pause keeps the reason.
    """

    __tablename__ = "due_times"
    __table_args__ = (partial("ix_due_times_at_once", "due_at", where="reason <> 'interval'"),)

    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    due_at: Mapped[datetime | None] = mapped_column(index=True)
    reason: Mapped[str] = mapped_column(sa.String(24))


class UserRow(Base):
    """One user of one application. `feedback_sequence` is the last event's sequence, `adapter_sequence` the last
    version's number.

    `epoch` counts changes of what may be trained on or served (rollback, promotion, pin, release, starting point). A
    training that began before such a change cannot commit after it.
    """

    __tablename__ = "users"
    __table_args__ = (
        sa.UniqueConstraint("application", "external_id"),
        sa.Index("ix_users_application_id", "application", "id"),  # pages of an application's users
        partial("ix_users_unwatched", "id", where="feedback_sequence > watched_sequence"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    application: Mapped[str] = mapped_column(sa.String(64))
    external_id: Mapped[str] = mapped_column(sa.String(128))
    policy: Mapped[dict[str, Any]]
    pinned: Mapped[bool] = mapped_column(default=False)
    shares_taste: Mapped[bool] = mapped_column(default=False, server_default=sa.false())  # consent to taste priors
    feedback_sequence: Mapped[int] = mapped_column(default=0)
    trained_sequence: Mapped[int] = mapped_column(default=0)
    # Events after `trained_sequence` without an open exclusion: how many, and when the first was received.
    pending_count: Mapped[int] = mapped_column(default=0, server_default=sa.text("0"))
    pending_since: Mapped[datetime | None]
    watched_sequence: Mapped[int] = mapped_column(
        default=0, server_default=sa.text("0")
    )  # drift was checked up to here
    drift: Mapped[dict[str, Any] | None]  # scoring.drift.DriftState
    adapter_sequence: Mapped[int] = mapped_column(default=0)
    epoch: Mapped[int] = mapped_column(default=0)
    last_trained_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    # For answers only. What is read together with a lock may be older than the lock: decide by `db.due_times`.
    next_due_at: Mapped[datetime | None] = column_property(
        sa.select(DueRow.due_at).where(DueRow.user_id == id).correlate_except(DueRow).scalar_subquery()
    )
    due_reason: Mapped[str | None] = column_property(
        sa.select(DueRow.reason).where(DueRow.user_id == id).correlate_except(DueRow).scalar_subquery()
    )
