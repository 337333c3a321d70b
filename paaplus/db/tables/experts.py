"""Experts, matches of users with experts' models, and the quizzes before a match."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from paaplus.db.tables.base import Base, partial_unique
from paaplus.db.types import enum_type


class ExpertForm(StrEnum):
    """How an expert's model uses the base model.

    POOLED: an adapter that corrects the generic score. HEAD: a head of its own on the shared features, without the
    generic score, as in the paper.
    """

    POOLED = "pooled"
    HEAD = "head"


class MatchKind(StrEnum):
    """Which model a match chose as the starting point."""

    GENERIC = "generic"
    EXPERT = "expert"
    COMBINATION = "combination"


class ExpertRow(Base):
    """A user who reviews pseudo labels. The user's log holds the revised labels; the active version is the model."""

    __tablename__ = "experts"

    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(128))
    domain: Mapped[str] = mapped_column(sa.String(64))
    form: Mapped[ExpertForm] = mapped_column(enum_type(ExpertForm, "form"))
    retired_at: Mapped[datetime | None]  # then no new user is matched with the expert
    created_at: Mapped[datetime]


class MatchRow(Base):
    """A match of a user, and its reason. The match that is not superseded is in force.

    The user's trainings start from the taste prior `prior_digest`, a blob that all users with the same match share;
    None: the prior in force. `shift` is added to its mean; it comes from the user's survey.
    """

    __tablename__ = "matches"
    __table_args__ = (partial_unique("uq_matches_one_in_force", "user_id", where="superseded_at IS NULL"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    base_model_id: Mapped[UUID] = mapped_column(sa.ForeignKey("base_models.id"), index=True)
    kind: Mapped[MatchKind] = mapped_column(enum_type(MatchKind, "kind"))
    prior_digest: Mapped[str | None] = mapped_column(sa.String(64))
    shift: Mapped[bytes | None]
    evidence: Mapped[dict[str, Any]]  # numbers of ratings and comparisons, posterior over experts, agreement counts
    reason: Mapped[str] = mapped_column(sa.Text)
    high_water_sequence: Mapped[int]  # last event of the user's log when it was made
    stale_at: Mapped[datetime | None]  # when one of its experts was erased
    superseded_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class MatchExpertRow(Base):
    """One expert in a match, with the expert's share of the prior."""

    __tablename__ = "match_experts"

    match_id: Mapped[UUID] = mapped_column(sa.ForeignKey("matches.id", ondelete="CASCADE"), primary_key=True)
    expert_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)
    adapter_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("adapters.id", ondelete="SET NULL"), index=True)
    share: Mapped[float]


class QuizRow(Base):
    """A series of image pairs that a user compares; one is open at a time."""

    __tablename__ = "quizzes"
    __table_args__ = (partial_unique("uq_quizzes_one_open_per_user", "user_id", where="finished_at IS NULL"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    base_model_id: Mapped[UUID] = mapped_column(sa.ForeignKey("base_models.id"), index=True)
    max_pairs: Mapped[int]
    finish_reason: Mapped[str | None] = mapped_column(sa.String(64))
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class QuizPairRow(Base):
    """One pair of a quiz. The answer is a comparison in the user's log."""

    __tablename__ = "quiz_pairs"
    __table_args__ = (sa.UniqueConstraint("quiz_id", "position"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    quiz_id: Mapped[UUID] = mapped_column(sa.ForeignKey("quizzes.id", ondelete="CASCADE"))
    position: Mapped[int]
    first_image_id: Mapped[UUID] = mapped_column(sa.ForeignKey("images.id", ondelete="CASCADE"), index=True)
    second_image_id: Mapped[UUID] = mapped_column(sa.ForeignKey("images.id", ondelete="CASCADE"), index=True)
    expected_information: Mapped[float]  # nats
    feedback_id: Mapped[int | None] = mapped_column(sa.ForeignKey("feedback.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]
