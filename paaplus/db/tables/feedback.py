"""The append-only feedback log, exclusions, and receipts of predictions."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from paaplus.db.tables.base import Base, partial_unique
from paaplus.db.types import enum_type


class FeedbackKind(StrEnum):
    """Kinds of events. A further kind of opinion also needs its likelihood: see `scoring.comparisons`."""

    RATING = "rating"
    CORRECTION = "correction"
    COMPARISON = "comparison"
    BINARY = "binary"
    RETRACTION = "retraction"

    @property
    def trains(self) -> bool:
        """Whether trainings learn from events of this kind, and the gate judges by those that are held out."""
        return self != FeedbackKind.RETRACTION


class FeedbackRow(Base):
    """One event, stored as it was given. `sequence` counts the user's events in order of commit, without gaps.

    The client chooses `event_id`, so that posting twice appends once. `body_digest` distinguishes a repeated event
    from another event with the same id. An event outlives its image: then `image_id` is NULL, and a retraction in the
    log takes the event back.
    """

    __tablename__ = "feedback"
    __table_args__ = (
        sa.UniqueConstraint("user_id", "event_id"),
        sa.UniqueConstraint("user_id", "sequence"),
        sa.Index(
            "ix_feedback_retractions",
            "user_id",
            "sequence",
            sqlite_where=sa.text("retracts_sequence IS NOT NULL"),
            postgresql_where=sa.text("retracts_sequence IS NOT NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    sequence: Mapped[int]
    event_id: Mapped[str] = mapped_column(sa.String(128))
    kind: Mapped[FeedbackKind] = mapped_column(enum_type(FeedbackKind, "kind"))
    image_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("images.id", ondelete="SET NULL"), index=True)
    other_image_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("images.id", ondelete="SET NULL"), index=True)
    receipt_id: Mapped[UUID | None] = mapped_column(
        sa.ForeignKey("prediction_receipts.id", ondelete="SET NULL"), index=True
    )
    retracts_sequence: Mapped[int | None]
    payload: Mapped[dict[str, Any]]
    body_digest: Mapped[str] = mapped_column(sa.String(64))
    source: Mapped[str] = mapped_column(sa.String(64))
    occurred_at: Mapped[datetime | None]
    received_at: Mapped[datetime]


class ExclusionRow(Base):
    """A run of a user's log that training, gate and triggers ignore until it is released.

    Its events are those from `first_sequence` to `last_sequence`; none is a retraction. No event is in two runs that
    hold. If a part is released, the rest becomes rows of its own. Epochs are the user's after each act.
    """

    __tablename__ = "exclusions"
    __table_args__ = (
        partial_unique("uq_exclusions_one_open_per_start", "user_id", "first_sequence", where="released_at IS NULL"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    first_sequence: Mapped[int]
    last_sequence: Mapped[int]
    reason: Mapped[str] = mapped_column(sa.Text)
    actor: Mapped[str] = mapped_column(sa.String(64))
    created_at: Mapped[datetime]
    excluded_epoch: Mapped[int]
    released_epoch: Mapped[int | None]
    released_at: Mapped[datetime | None]
    released_by: Mapped[str | None] = mapped_column(sa.String(64))


class PredictionReceiptRow(Base):
    """The scores of one prediction, and the version that gave them.

    A receipt is signed and given to the caller; a row is written when the first correction names it, see
    `services.predictions.receipts`. Older rows, from when every prediction had one, are named by their ids.
    """

    __tablename__ = "prediction_receipts"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    image_id: Mapped[UUID] = mapped_column(sa.ForeignKey("images.id", ondelete="CASCADE"), index=True)
    base_model_id: Mapped[UUID] = mapped_column(sa.ForeignKey("base_models.id"), index=True)
    adapter_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("adapters.id", ondelete="CASCADE"), index=True)
    scores: Mapped[dict[str, Any]]
    details: Mapped[dict[str, Any] | None]  # preference, branches and match behind the scores
    created_at: Mapped[datetime]
