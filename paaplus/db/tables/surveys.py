"""Surveys, users' answers, preference encoders and preferences."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from paaplus.db.tables.base import Base, partial_unique


class SurveyRow(Base):
    """One version of a survey's form, for one domain of objects. Immutable."""

    __tablename__ = "surveys"
    __table_args__ = (sa.UniqueConstraint("application", "name", "version"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    application: Mapped[str] = mapped_column(sa.String(64))
    name: Mapped[str] = mapped_column(sa.String(64))
    version: Mapped[int]
    domain: Mapped[str] = mapped_column(sa.String(64))
    digest: Mapped[str] = mapped_column(sa.String(64))
    form: Mapped[dict[str, Any]]
    retired_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class SurveyAnswersRow(Base):
    """One user's answers to one survey; new answers supersede old ones."""

    __tablename__ = "survey_answers"
    __table_args__ = (
        partial_unique("uq_survey_answers_one_in_force", "survey_id", "user_id", where="superseded_at IS NULL"),
        sa.Index("ix_survey_answers_survey_id", "survey_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    survey_id: Mapped[UUID] = mapped_column(sa.ForeignKey("surveys.id"))
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    answers: Mapped[dict[str, Any]]
    superseded_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class PreferenceEncoderRow(Base):
    """Encodes a survey's answers as a preference. Immutable; the newest that is not retired is in force."""

    __tablename__ = "preference_encoders"
    __table_args__ = (sa.UniqueConstraint("survey_id", "base_model_id", "version"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    survey_id: Mapped[UUID] = mapped_column(sa.ForeignKey("surveys.id"))
    base_model_id: Mapped[UUID] = mapped_column(sa.ForeignKey("base_models.id"), index=True)
    version: Mapped[int]
    digest: Mapped[str] = mapped_column(sa.String(64))
    data: Mapped[bytes] = mapped_column(deferred=True)
    num_people: Mapped[int]
    metrics: Mapped[dict[str, Any]]
    retired_at: Mapped[datetime | None]
    stale_at: Mapped[datetime | None]  # when a user that it was learned from was erased
    created_at: Mapped[datetime]


class PreferenceEncoderPersonRow(Base):
    """One user that a preference encoder was learned from."""

    __tablename__ = "preference_encoder_people"

    preference_encoder_id: Mapped[UUID] = mapped_column(
        sa.ForeignKey("preference_encoders.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)


class PreferenceRow(Base):
    """A user's preference: set by the application, or encoded from a survey, then with `preference_encoder_id`."""

    __tablename__ = "preferences"

    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    preference: Mapped[list[float]]
    version: Mapped[int]  # counts the changes
    preference_encoder_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("preference_encoders.id"), index=True)
    updated_at: Mapped[datetime]
