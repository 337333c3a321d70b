"""Experts, whose models are what new users are matched with; quizzes that find out with whom; and matches."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from paaplus.db.tables.base import Base, partial_unique
from paaplus.db.types import enum_type


class ExpertForm(StrEnum):
    """How an expert's model stands on the base model.

    POOLED: the generic score bent by what the expert says otherwise. HEAD: a head of their own on the shared
    features, as in the paper, without the generic score.
    """

    POOLED = "pooled"
    HEAD = "head"


class MatchKind(StrEnum):
    """What a new user starts from."""

    GENERIC = "generic"
    EXPERT = "expert"
    COMBINATION = "combination"


class ExpertRow(Base):
    """A user who reviews pseudo labels: their log holds the revised labels, their adapter versions are their model."""

    __tablename__ = "experts"

    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(128))
    domain: Mapped[str] = mapped_column(sa.String(64))
    form: Mapped[ExpertForm] = mapped_column(enum_type(ExpertForm, "form"))
    retired_at: Mapped[datetime | None]  # no new user is matched with them
    created_at: Mapped[datetime]


class MatchRow(Base):
    """What a user was matched with, and why: immutable; the one that is not superseded is in force.

    The user's own versions are learned under the taste prior that `prior_digest` names (a blob in storage, shared by
    all who were matched alike; None: the one in force), its mean moved by `shift`, what their survey says.
    """

    __tablename__ = "matches"
    __table_args__ = (partial_unique("uq_matches_one_in_force", "user_id", where="superseded_at IS NULL"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    base_model_id: Mapped[UUID] = mapped_column(sa.ForeignKey("base_models.id"), index=True)
    kind: Mapped[MatchKind] = mapped_column(enum_type(MatchKind, "kind"))
    prior_digest: Mapped[str | None] = mapped_column(sa.String(64))
    shift: Mapped[bytes | None]
    evidence: Mapped[dict[str, Any]]  # how much was asked, the posterior over experts, agreement counts
    reason: Mapped[str] = mapped_column(sa.Text)
    high_water_sequence: Mapped[int]  # of the user's log, when it was made
    stale_at: Mapped[datetime | None]  # since then, an expert in it has been erased
    superseded_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class MatchExpertRow(Base):
    """One expert in a match, with the share that the match gives them."""

    __tablename__ = "match_experts"

    match_id: Mapped[UUID] = mapped_column(sa.ForeignKey("matches.id", ondelete="CASCADE"), primary_key=True)
    expert_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)
    adapter_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("adapters.id", ondelete="SET NULL"), index=True)
    share: Mapped[float]


class QuizRow(Base):
    """One series of pairs put to a user; one open at a time."""

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
    feedback_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("feedback.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]
