"""The append-only feedback log, exclusions, and receipts of predictions."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from paaplus.db.event_keys import event_key
from paaplus.db.feedback_types import CompactTime, EventIdType, EventNumber, PayloadType, SourceType
from paaplus.db.tables.base import Base, partial, partial_unique
from paaplus.db.types import enum_type
from paaplus.ids import id_of


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


def _key_of(context: Any) -> int:
    given = context.get_current_parameters()
    return event_key(given["user_id"].hex, given["event_id"])


class FeedbackRow(Base):
    """One event, stored as it was given. `sequence` counts the user's events in order of commit, without gaps.

    The client chooses `event_id`, so that posting twice appends once: `event_key` is a short key of user and event id;
    NULL if an event has the key of another one. `body_digest` distinguishes a repeated event from another event with
    the same id. An event outlives its image: then `image_id` is NULL, and a retraction in the log takes the event back.

    `id` grows with time, and is the database's own. Clients see `shown_id`.
    """

    __tablename__ = "feedback"
    __table_args__ = (
        sa.UniqueConstraint("event_key"),
        sa.UniqueConstraint("user_id", "sequence"),
        partial("ix_feedback_other_image_id", "other_image_id", where="other_image_id IS NOT NULL"),
        partial("ix_feedback_receipt_id", "receipt_id", where="receipt_id IS NOT NULL"),
        partial("ix_feedback_retractions", "user_id", "sequence", where="retracts_sequence IS NOT NULL"),
        partial("ix_feedback_without_key", "user_id", where="event_key IS NULL"),
    )

    # Numbers of eight bytes first: PostgreSQL fills up what stands before one.
    id: Mapped[int] = mapped_column(EventNumber, primary_key=True)
    event_key: Mapped[int | None] = mapped_column(sa.BigInteger, default=_key_of)
    body_digest: Mapped[int] = mapped_column(sa.BigInteger)
    received_at: Mapped[datetime] = mapped_column(CompactTime)
    occurred_at: Mapped[datetime | None] = mapped_column(CompactTime)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    image_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("images.id", ondelete="SET NULL"), index=True)
    other_image_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("images.id", ondelete="SET NULL"))
    receipt_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("prediction_receipts.id", ondelete="SET NULL"))
    sequence: Mapped[int]
    retracts_sequence: Mapped[int | None]
    kind: Mapped[FeedbackKind] = mapped_column(enum_type(FeedbackKind, "kind"))
    event_id: Mapped[str] = mapped_column(EventIdType)
    source: Mapped[str] = mapped_column(SourceType)
    payload: Mapped[dict[str, Any]] = mapped_column(PayloadType)
    earlier_id: Mapped[bytes | None]  # of events from when `id` was a UUID

    @property
    def shown_id(self) -> UUID:
        """The event's id for clients: the same for ever, also in another database that a backup was restored to."""
        return shown_id(self.earlier_id, self.user_id, self.sequence, self.received_at)


def shown_id(earlier_id: bytes | None, user_id: UUID, sequence: int, received_at: datetime) -> UUID:
    """The UUID that an event had, or a UUIDv7 of the time of its receipt, its user and its number."""
    if earlier_id is not None:
        return UUID(bytes=bytes(earlier_id))
    content = sha256(f"{user_id.hex}:{sequence}".encode()).digest()
    return id_of((received_at - _EPOCH) // _MILLISECOND, content)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


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
