"""Pseudo labels of AI tools, experts' reviews of them, and the tools' revisions."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from paaplus.db.tables.base import Base
from paaplus.db.types import enum_type


class ReviewOrder(StrEnum):
    """VALUE: images whose labels are uncertain or disagree come first. RANDOM: shuffled with the batch's seed."""

    VALUE = "value"
    RANDOM = "random"


class ReviewState(StrEnum):
    """DONE: accepted or corrected. SKIPPED: put off by the expert. CANNOT_SAY: the expert cannot judge the image."""

    OPEN = "open"
    DONE = "done"
    SKIPPED = "skipped"
    CANNOT_SAY = "cannot_say"


class PseudoLabelRow(Base):
    """One tool's label of one image, as the tool gave it: scores and confidences by aspect."""

    __tablename__ = "pseudo_labels"
    __table_args__ = (sa.UniqueConstraint("image_id", "tool", "tool_version"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    image_id: Mapped[UUID] = mapped_column(sa.ForeignKey("images.id", ondelete="CASCADE"))
    tool: Mapped[str] = mapped_column(sa.String(64))
    tool_version: Mapped[str] = mapped_column(sa.String(64))
    scores: Mapped[dict[str, Any]]  # aspect: 0-10
    confidences: Mapped[dict[str, Any]]  # aspect: 0-1
    created_at: Mapped[datetime]


class ToolRevisionRow(Base):
    """A correction of a tool's labels, learned from one application's reviews. The newest not retired is in force."""

    __tablename__ = "tool_revisions"
    __table_args__ = (sa.UniqueConstraint("application", "tool", "tool_version", "version"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    application: Mapped[str] = mapped_column(sa.String(64))
    tool: Mapped[str] = mapped_column(sa.String(64))
    tool_version: Mapped[str] = mapped_column(sa.String(64))
    version: Mapped[int]
    base_model_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("base_models.id"), index=True)  # of a reward head
    digest: Mapped[str] = mapped_column(sa.String(64))
    data: Mapped[bytes] = mapped_column(deferred=True)
    num_reviews: Mapped[int]
    metrics: Mapped[dict[str, Any]]
    retired_at: Mapped[datetime | None]
    stale_at: Mapped[datetime | None]  # when an expert whose reviews it was learned from was erased
    created_at: Mapped[datetime]


class ToolRevisionPersonRow(Base):
    """One expert whose reviews a tool revision was learned from."""

    __tablename__ = "tool_revision_people"

    tool_revision_id: Mapped[UUID] = mapped_column(
        sa.ForeignKey("tool_revisions.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)


class ReviewBatchRow(Base):
    """Images of one application that go to experts together, with the labels of some tools."""

    __tablename__ = "review_batches"
    __table_args__ = (sa.Index("ix_review_batches_application", "application"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    application: Mapped[str] = mapped_column(sa.String(64))
    name: Mapped[str] = mapped_column(sa.String(128))
    tools: Mapped[list[str]]
    order: Mapped[ReviewOrder] = mapped_column("review_order", enum_type(ReviewOrder, "review_order"))
    seed: Mapped[int]
    actor: Mapped[str] = mapped_column(sa.String(64))
    created_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class ReviewRow(Base):
    """One image for one expert to review. `shown` is the label shown, `answers` the expert's verdict and scores.

    The revised label is also a rating in the expert's feedback log, which trainings read.
    """

    __tablename__ = "reviews"
    __table_args__ = (
        sa.UniqueConstraint("batch_id", "expert_id", "image_id"),
        sa.Index("ix_reviews_queue", "expert_id", "state", "batch_id", "position"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    batch_id: Mapped[UUID] = mapped_column(sa.ForeignKey("review_batches.id", ondelete="CASCADE"))
    expert_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    image_id: Mapped[UUID] = mapped_column(sa.ForeignKey("images.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    expected_value: Mapped[float]
    shown: Mapped[dict[str, Any]]
    answers: Mapped[dict[str, Any] | None]
    state: Mapped[ReviewState] = mapped_column(enum_type(ReviewState, "state"))
    feedback_id: Mapped[int | None] = mapped_column(sa.ForeignKey("feedback.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
